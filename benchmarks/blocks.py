"""The code blocks of a page, as a person copies them: what the tests run, and what the tutorial's script times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SHELL = ("sh", "bash", "")
"""Languages of commands; an indented block has none."""

_FENCE = re.compile(r"^( *)```([\w-]*)(.*)$")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        language: Of a fence; empty for an indented block.
        title: Name of the file that a fence shows; empty where it shows none.
        text: Its lines, without the indentation they share.
        line: Of the page, where it begins, from 1.
    """

    language: str
    title: str
    text: str
    line: int

    @property
    def is_shell(self) -> bool:
        """Whether it is typed into a terminal, not saved as a file."""
        return self.language in SHELL and not self.title

    @property
    def commands(self) -> tuple[str, ...]:
        r"""The commands of a shell block: comments left out, lines that end in a backslash joined.

        >>> Block("sh", "", "# first\nlpcam run \\\n  --json\nlpcam report\n", 1).commands
        ('lpcam run --json', 'lpcam report')
        """
        joined = re.sub(r"\\\n\s*", "", self.text)
        lines = (re.sub(r"\s+#\s.*$", "", line).strip() for line in joined.splitlines())
        return tuple(line for line in lines if line and not line.startswith("#"))


def blocks(page: str) -> list[Block]:
    r"""Return all code blocks of a page in their order.

    Args:
        page: Its Markdown.

    >>> [block.language for block in blocks("Do:\n\n    lpcam run\n\n```python\nprint(1)\n```\n")]
    ['', 'python']
    """
    return list(_blocks(page.splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    index, after_blank = 0, True
    while index < len(lines):
        line, end = lines[index], index + 1
        if fence := _FENCE.match(line):
            end = _end_of_fence(lines, index, fence[1])
            title = _TITLE.search(fence[3])
            text = _dedented(lines[index + 1 : end - 1], len(fence[1]))
            yield Block(fence[2], title[1] if title else "", text, index + 1)
        elif after_blank and line.startswith("    "):
            end = _end_of_indent(lines, index)
            yield Block("", "", _dedented(lines[index:end], 4), index + 1)
        index, after_blank = end, not line.strip()


def _end_of_fence(lines: list[str], start: int, indent: str) -> int:
    """Return the line after the closing fence."""
    return next(index for index in range(start + 1, len(lines)) if lines[index].rstrip() == f"{indent}```") + 1


def _end_of_indent(lines: list[str], start: int) -> int:
    """Return the line after the block's last one; blank lines belong to it where indented ones follow."""
    end = start
    for index in range(start, len(lines)):
        if lines[index].startswith("    "):
            end = index + 1
        elif lines[index].strip():
            break
    return end


def _dedented(lines: list[str], columns: int) -> str:
    return "".join(f"{line[columns:]}\n" for line in lines)
