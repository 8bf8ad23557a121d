"""docs/cli.md: what the commands say today, and every command and option says something."""

from __future__ import annotations

import shlex

import click
import pytest

from tests.cli import reference

COMMANDS = list(reference.commands())


def test_the_page_is_what_the_commands_say():
    """To write it anew: python -m tests.cli.reference."""
    text = reference.PAGE.read_text(encoding="utf-8")
    assert text.partition(reference.START)[2].partition(reference.END)[0] == reference.reference()


@pytest.mark.parametrize(("name", "command", "context"), COMMANDS, ids=[name for name, *_ in COMMANDS])
def test_a_command_explains_itself(name, command, context):
    assert (command.help or "").strip(), "no help"
    assert any(line.startswith(name) for line in reference.examples(command)), "no Example that calls it"
    assert [option.name for option in reference.options(command) if not option.help] == []
    arguments = [param.make_metavar(context) for param in command.params if isinstance(param, click.Argument)]
    said = (command.help or "").upper()
    assert [
        metavar for metavar in arguments if metavar.strip("[].").split("|")[0].strip("{}").upper() not in said
    ] == []


@pytest.mark.parametrize(("name", "command", "context"), COMMANDS, ids=[name for name, *_ in COMMANDS])
def test_the_page_names_every_option_of_a_command(name, command, context):
    section = reference.PAGE.read_text(encoding="utf-8").partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    spellings = [spelling for option in reference.options(command) for spelling in option.opts]
    assert spellings or name == "lpcam completion"  # which takes the shell's name alone
    assert [spelling for spelling in spellings if spelling not in section] == []


def test_an_example_is_a_line_that_a_shell_reads():
    for _, command, _ in COMMANDS:
        for line in "\n".join(reference.examples(command)).replace("\\\n", " ").splitlines():
            assert shlex.split(line, comments=True)[0]
