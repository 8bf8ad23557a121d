"""docs/cli.md, made by asking the commands. Run ``python -m tests.cli.reference`` to write it."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
from lpcam_cli.helping import Command
from lpcam_cli.main import main

PAGE = Path(__file__).parents[2] / "docs/cli.md"
START, END = "<!-- commands -->\n", "<!-- /commands -->\n"
_EXAMPLE = re.compile(r"Examples?:\s*")


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield every command that does something: its whole name, itself and the context of its --help."""
    yield from _below("lpcam", main, click.Context(main, info_name="lpcam"))


def _below(
    name: str, command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    if not isinstance(command, click.Group):
        yield name, command, context
        return
    for child in command.list_commands(context):
        found = command.get_command(context, child)
        assert found is not None
        if not found.hidden:
            yield from _below(f"{name} {child}", found, click.Context(found, context, child))


def options(command: click.Command) -> list[click.Option]:
    return [param for param in command.params if isinstance(param, click.Option) and not param.hidden]


def examples(command: click.Command) -> list[str]:
    """Return the lines of a command's Example."""
    return [line for kind, text in _parts(command) if kind == "sh" for line in text.splitlines()]


def reference() -> str:
    """Return what stands between the marks of the page."""
    found = list(commands())
    header = ["| command | what it does |\n", "| --- | --- |\n"]
    rows = [
        f"| [`{name}`](#{name.replace(' ', '-')}) | {_escaped(_summary(command))} |\n" for name, command, _ in found
    ]
    return "\n".join(["".join(header + rows), *(_section(*each) for each in found)])


def _section(name: str, command: click.Command, context: click.Context) -> str:
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    parts = [f"## {name}\n", f"```text\n{usage}\n```\n"]
    parts += [_shown(kind, text) for kind, text in _parts(command)]
    return "\n".join([*parts, *_tables(command, context)])


def _shown(kind: str, text: str) -> str:
    return f"{_escaped(text)}\n" if kind == "prose" else f"```{kind}\n{text}\n```\n"


def _tables(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield a table for every heading of --help."""
    assert isinstance(command, Command), f"{command.name} does not list its options under headings"
    for heading, records in command.grouped(context).items():
        rows = ["| option | what it does |\n", "| --- | --- |\n"]
        rows += [f"| `{names.replace('|', chr(92) + '|')}` | {_escaped(text)} |\n" for names, text in records]
        yield f"{heading}:\n\n{''.join(rows)}"


def _summary(command: click.Command) -> str:
    return _parts(command)[0][1].split(". ")[0].rstrip(".")


def _parts(command: click.Command) -> list[tuple[str, str]]:
    """Return the paragraphs of a command's help: prose, an example (sh), or something laid out (text)."""
    paragraphs = []
    for source in (command.help, command.epilog):
        paragraphs += re.split(r"\n\s*\n", inspect.cleandoc(source or ""))
    return [_part(paragraph) for paragraph in paragraphs if paragraph.strip()]


def _part(paragraph: str) -> tuple[str, str]:
    if "\b" not in paragraph:
        return "prose", " ".join(paragraph.split())
    laid_out = paragraph.replace("\b", "").lstrip("\n")
    heading = _EXAMPLE.match(laid_out)
    text = textwrap.dedent(laid_out[heading.end() :] if heading else laid_out)
    return ("sh", _dedented(text)) if heading else ("text", text.rstrip())


def _dedented(text: str) -> str:
    """Return lines that begin at the margin, with the lines that continue them two to the right."""
    lines, continued = [], False
    for line in text.splitlines():
        lines.append(f"  {line.strip()}" if continued else line.strip())
        continued = line.endswith("\\")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Return prose that Markdown leaves as it is."""
    return re.sub(r"([|*_`\[\]])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")


def write() -> None:
    """Write the page's generated part anew."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(before + START + reference() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    write()
