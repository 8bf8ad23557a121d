"""--help: an example that parses, the options that matter first, each option once and under its heading."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner
from lpcam_cli.helping import HEADINGS, Command
from lpcam_cli.main import main

from tests.cli.every import every_command, examples

COMMANDS = every_command()
WITHOUT_RESULT = {"completion"}
WITHOUT_WORKSPACE = {*WITHOUT_RESULT, "train sipe", "train cpal"}


def sections(text: str) -> dict[str, list[str]]:
    """Return the options below every heading of a help."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if re.fullmatch(r"\w[\w ,]*:", line):
            heading = line[:-1]
        elif option := re.match(r"  (?:-\w, )?(--[\w-]+)", line):
            found.setdefault(heading, []).append(option[1])
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_of_the_command_and_parse(name):
    found = examples(COMMANDS[name])
    assert any(words[: len(name.split())] == name.split() for words in found), "no example of its own"
    for words in found:
        _parse(main, words)


def _parse(group: click.Group, words: list[str]) -> None:
    """Parse a command line without running it, as click does; unknown commands, options and values raise."""
    _, command, rest = group.resolve_command(click.Context(group), words)
    if isinstance(command, click.Group):
        _parse(command, rest)
    else:
        command.make_context(" ".join(words), rest)


def test_an_example_with_an_unknown_option_would_be_seen():
    with pytest.raises(click.UsageError):
        _parse(main, ["cluster", "--profil", "voc"])
    assert examples(click.Command("x", help="\b\nExample:\n  lpcam x --a \\\n    --b   (so)\n")) == [
        ["x", "--a", "--b"]
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_stands_once_and_what_matters_first(name):
    command = COMMANDS[name]
    assert isinstance(command, Command)
    result = CliRunner().invoke(main, [*name.split(), "--help"], env={"COLUMNS": "100"})
    found = sections(result.stdout)
    assert [heading for heading in HEADINGS if heading in found] == list(found), "headings in their order"
    named = {max(param.opts, key=len): param for param in command.params if isinstance(param, click.Option)}
    shown = [option for options in found.values() for option in options]
    assert sorted(shown) == sorted({option for option, param in named.items() if not param.hidden} | {"--help"})
    assert all(param.help for param in named.values() if not param.hidden)
    by_name = {param.name: option for option, param in named.items()}
    assert found.get("Most used", []) == [by_name[name] for name in command.first]
    required = {option for option, param in named.items() if param.required}
    assert required <= set(found.get("Most used", [])), "what must be given is not searched for"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_what_scripts_pass_everywhere(name):
    options = {option for param in COMMANDS[name].params for option in param.opts}
    assert name in WITHOUT_RESULT or options >= {"--json", "-v", "--verbose", "-q", "--quiet", "--device", "--seed"}
    assert name in WITHOUT_WORKSPACE or options >= {"-w", "--workspace"}


def test_the_group_lists_every_command():
    text = CliRunner().invoke(main, ["--help"], env={"COLUMNS": "100"}).stdout
    assert {name.split()[0] for name in COMMANDS} == set(re.findall(r"^  ([a-z][\w-]+)  ", text, re.MULTILINE))
