"""docs/formats.md: its tables are what the files of a run hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from lpcam import Workspace, corridor
from lpcam.profiles import get_profile
from tests.docs.following import ROOT

TEXT = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `W/([^`]+)`\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
TENSORS = [name for name in SECTIONS if name.endswith(".safetensors")]
OBJECTS = {
    "features/manifest.json": "features/manifest.json",
    "seeds/lpcam/irn/": "seeds/lpcam/irn/.lpcam-seeds.json",
    "evaluation/lpcam.json": "evaluation/lpcam.json",
}
HEADERS = ("features/shard-00000.safetensors", "prototypes.safetensors")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """What every stage leaves, of six photos; one of them cannot be read by `generate`."""
    from lpcam.sources import ClassifierSource, DataSource
    from tests.conftest import make_voc

    folder = tmp_path_factory.mktemp("formats")
    root = make_voc(folder / "data", [(48, 64), (64, 48), (48, 64), (33, 57), (48, 64), (50, 50)])
    data = DataSource("voc", root, labels=root / "labels.csv", classes=root / "classes.txt")
    workspace = Workspace(folder / "W")
    corridor.extract_features(workspace, data, ClassifierSource("demo", checkpoint), scales=(1.0, 0.5))
    corridor.cluster(workspace, profile=get_profile("voc", k=3))
    corridor.cluster_support(workspace)
    corridor.cluster_discriminants(workspace)
    corridor.generate(workspace, scales=(1.0,))
    corridor.evaluate(workspace)
    (root / "JPEGImages/2007_000005.jpg").write_bytes(b"no photo")
    corridor.generate(workspace, scales=(1.0,), methods=("cam",))
    return workspace.root


def rows(section: str, columns: int) -> list[list[str]]:
    """Return the rows of a section's tables that have so many columns, without their heads."""
    found = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return [[row[0].strip("`"), *row[1:]] for row in found if len(row) == columns]


@pytest.mark.parametrize("name", TENSORS)
def test_tensors(name, workspace):
    with safe_open(workspace / name, "pt") as file:
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    told = {key: (kind, shape.count(",") + 1) for key, kind, shape, _ in rows(SECTIONS[name], 4)}
    assert told == {key: (str(value.dtype).removeprefix("torch."), value.ndim) for key, value in found.items()}


@pytest.mark.parametrize("name", HEADERS)
def test_headers(name, workspace):
    with safe_open(workspace / name, "pt") as file:
        header = json.loads(file.metadata()["lpcam"])
    assert len(header["sha256"]) == 64
    agrees(SECTIONS[name], header)


def test_the_other_headers_have_the_keys_of_the_prototypes(workspace):
    told = {key for key, *_ in rows(SECTIONS["prototypes.safetensors"], 3)}
    for name, key in {"support.safetensors": "lpcam-support", "fisher.safetensors": "lpcam-discriminants"}.items():
        with safe_open(workspace / name, "pt") as file:
            assert set(json.loads(file.metadata()[key])) == {*told, "sha256"}
        assert f"The header is `{key}`" in SECTIONS[name]


@pytest.mark.parametrize("name", OBJECTS)
def test_json(name, workspace):
    agrees(SECTIONS[name], json.loads((workspace / OBJECTS[name]).read_text()))


def test_the_description_of_a_store(workspace):
    manifest = json.loads((workspace / "features/manifest.json").read_text())
    (told,) = (what for key, _, what in rows(SECTIONS["features/manifest.json"], 3) if key == "description")
    assert set(re.findall(r"`(\w+)`", told.replace("(fingerprint of names and labels)", ""))) == set(
        manifest["description"]
    )


def test_failures(workspace):
    (line,) = (workspace / "failures.jsonl").read_text().splitlines()
    agrees(SECTIONS["failures.jsonl"], json.loads(line))


def test_every_file_of_a_run_has_a_section(workspace):
    told = [re.escape(name).replace("00000", r"\d+") for name in SECTIONS]
    files = [path.relative_to(workspace).as_posix() for path in workspace.rglob("*") if path.is_file()]
    files = [name for name in files if not name.endswith(".lock")]
    files = [name.replace("/cam/", "/lpcam/") for name in files]
    assert [name for name in files if not any(re.match(pattern, name) for pattern in told)] == []


def agrees(section: str, value: dict[str, Any]) -> None:
    told = {key: kind for key, kind, _ in rows(section, 3)} | ({"sha256": "str"} if "sha256" in value else {})
    assert told == {key: type(of_key).__name__ for key, of_key in value.items()}
