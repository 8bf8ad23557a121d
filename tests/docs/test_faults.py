"""docs/faults.md: every fault in its tables names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows() -> list[str]:
    """Return the rows of the tables, without their heads."""
    lines = [line for line in TEXT.splitlines() if line.startswith("|")]
    return [line for line in lines if not line.startswith(("| fault |", "| ---"))]


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_fault_names_its_tests():
    assert len(rows()) > 25
    for row in rows():
        fault, happens, shown = (cell.strip() for cell in row.strip("|").split(" | "))
        assert fault
        assert happens
        assert TEST.findall(shown), fault
        assert TEST.sub("", shown).replace(",", "").strip() == "", fault


def test_the_tests_are_there():
    found = set(TEST.findall(TEXT))
    missing = [f"{path}::{name}" for path, name in found if name not in functions(ROOT / path)]
    assert missing == []
