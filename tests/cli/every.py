"""All commands, those of groups too."""

from __future__ import annotations

import re
import shlex

import click
from lpcam_cli.main import main


def every_command() -> dict[str, click.Command]:
    """Return every command that does something by the words that call it."""
    return _below(main, ())


def examples(command: click.Command) -> list[list[str]]:
    """Return the lines of a help that begin with lpcam, in words, without what a shell does with their output."""
    text = (command.help or "").replace("\\\n", " ")
    lines = re.findall(r"^ +(lpcam [^(>\n]*)", text, re.MULTILINE)
    return [shlex.split(line)[1:] for line in lines]


def _below(group: click.Group, words: tuple[str, ...]) -> dict[str, click.Command]:
    found = {}
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            found |= _below(command, (*words, name))
        elif command is not None:
            found[" ".join((*words, name))] = command
    return found
