"""The order of rooms: imports go one way, heavy libraries stay out of the doorway."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = (  # a room imports only from rooms further left
    "errors",
    "records",
    "files",
    "interrupts",
    "locks",
    "checksums",
    "pickles",
    "tensorfile",
    "profiles",
    "datasets",
    "backbones",
    "resampling",
    "views",
    "methods",
    "kmeans",
    "prototypes",
    "support",
    "discriminants",
    "dumps",
    "store",
    "precision",
    "runtime",
    "memory",
    "transfer",
    "forward",
    "engines",
    "extract",
    "crf",
    "propagation",
    "generate",
    "refiners",
    "evaluation",
    "sources",
    "workspace",
    "corridor",
    "dropin",
    "live",
    "compat",
    "export",
    "training",
    "report",
    "inspection",
    "verification",
    "demo",
    "doctor",
)
PURE = {"kmeans", "methods", "evaluation"}  # tensors in, tensors out
FORBIDDEN_IN_PURE = {"pathlib", "os", "io", "shutil", "tempfile"}
FILES = sorted((ROOT / "lpcam").rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT / "lpcam").parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_room_looks_downstream(path):
    if path == ROOT / "lpcam/__init__.py":
        return  # the front door names every room, lazily
    here = ORDER.index(room(path))
    rooms = {name.split(".")[1] for name in imports(path) if name.startswith("lpcam.")}
    downstream = {name for name in rooms if ORDER.index(name) > here}
    assert not downstream


def test_every_room_has_its_place_and_its_test():
    rooms = {room(path) for path in FILES} - {"__init__"}
    assert rooms == set(ORDER)
    tests = {path.name for path in (ROOT / "tests").iterdir()}
    without = {name for name in rooms if not {f"test_{name}.py", name} & tests}
    assert not without


def test_the_drawing_shows_rooms_that_exist():
    drawn = re.findall(r"<text x=[^>]*>(\w+)</text>", (ROOT / "docs/corridor.svg").read_text(encoding="utf-8"))
    assert len(drawn) == len(set(drawn)) > 10
    assert set(drawn) <= set(ORDER)


@pytest.mark.parametrize("path", [path for path in FILES if room(path) in PURE], ids=lambda path: path.name)
def test_algorithm_rooms_know_no_disk(path):
    assert not imports(path) & FORBIDDEN_IN_PURE
    assert "torch.manual_seed" not in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_library_does_not_print_assert_or_unpickle(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert not {"print", "eval", "exec"} & set(calls)
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert "weights_only=True" in ast.unparse(node)


@pytest.mark.parametrize("code", ["import lpcam", "import lpcam_cli.main", "import lpcam; lpcam.PROFILES"])
def test_the_doorway_is_light(code):
    heavy = "{'torch', 'torchvision', 'faiss', 'cv2', 'numpy', 'matplotlib', 'rich', 'sklearn'}"
    check = f"import sys; {code}; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False).stderr == ""


def test_commands_know_only_the_library():
    for path in sorted((ROOT / "cli").rglob("*.py")):
        tops = {name.split(".")[0] for name in imports_of_command(path)}
        assert not tops & {"torch", "faiss", "cv2", "numpy", "torchvision"}, path


def imports_of_command(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) if node.level == 0}
