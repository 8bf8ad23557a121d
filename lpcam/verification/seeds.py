"""A folder of seeds: every file against its checksum and its family's format, and the photos it should have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lpcam.checksums import SUMS, Sums, read_sums, sha256_of
from lpcam.errors import LpcamError
from lpcam.refiners import REFINERS, Refiner, get_refiner, readable
from lpcam.verification.verdict import Findings
from lpcam.workspace import SEED_RECORD, seed_record

_OWN = (SUMS, SEED_RECORD)
_SLACK = 1e-3  # of a value above 1, in float16 seeds


class Expected:
    """The photos that seeds should be of.

    Args:
        names: Of the features.
        photos: Fingerprint of their names and labels.
        failed: Photos that no stage could read.
    """

    def __init__(self, names: tuple[str, ...], photos: str, failed: set[str]) -> None:
        self.names, self.photos, self.failed = names, photos, failed


def check_seeds(folder: Path, expected: Expected, findings: Findings, tick: Callable[[], None]) -> None:
    """Check all files of a folder of seeds."""
    again = f"lpcam generate -w {findings.root} --method {folder.parent.name} --refiner {folder.name}"
    try:
        record, sums = seed_record(folder), read_sums(folder)
    except LpcamError as error:
        findings.wrong(folder / SEED_RECORD, error, f"{again} --overwrite")
        return
    if not record:
        findings.wrong(folder / SEED_RECORD, "is missing: nobody says what made these seeds", f"{again} --overwrite")
    for path, what in _damages(folder, sums, tick, findings):
        findings.wrong(path, what, again)
    made_by = record.get("made_by", {})
    refiner = made_by.get("refiner", folder.name)
    if refiner not in REFINERS:
        return
    family = get_refiner(refiner)
    if refiner in readable():
        _check_all_values(folder, family, len(made_by.get("classes", ())), again, findings)
    if expected.photos in record.get("splits", {}).values():
        for path in _missing(folder, family, expected):
            findings.wrong(path, "is missing", again)


def _check_all_values(folder: Path, family: Refiner, classes: int, again: str, findings: Findings) -> None:
    seeds = sorted(folder.glob(f"[!.]*{family.suffix}"))
    empty = sum(_check_values(path, family, classes, again, findings) for path in seeds)
    if empty:
        findings.doubts.append(f"{empty} maps in {findings.name(folder)} are zero everywhere")


def _damages(folder: Path, sums: Sums, tick: Callable[[], None], findings: Findings) -> Iterator[tuple[Path, str]]:
    """Yield the files that are not what was written, that are gone, and that nobody wrote."""
    for name, known in sorted(sums.items()):
        path = folder / name
        if not path.is_file():
            yield path, "is missing"
        elif sha256_of(path) != known:
            yield path, "is damaged, its checksum does not hold"
        findings.checked += 1
        tick()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.name.startswith(".") and name not in sums and name not in _OWN:
            yield path, f"is not in {SUMS}: it was being written when a run was killed, or is not lpcam's"


def _check_values(path: Path, family: Refiner, classes: int, again: str, findings: Findings) -> int:
    """Check what a seed holds; return how many of its maps are zero everywhere."""
    try:
        maps = family.read(path.parent, path.stem)
    except LpcamError as error:
        findings.wrong(path, error, again)
        return 0
    values = maps.high_res.numpy()
    if values.size and not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 + _SLACK):
        findings.wrong(path, "has values that are not in 0..1", again)
    if classes and any(not 0 <= label < classes for label in maps.labels):
        findings.wrong(path, f"has labels that are none of the {classes} classes", again)
    return sum(1 for of_class in values if not of_class.any())


def _missing(folder: Path, family: Refiner, expected: Expected) -> Iterator[Path]:
    """Yield the seeds of photos that have none; those that are noted and gone were named before."""
    noted = read_sums(folder)
    for name in expected.names:
        path = family.path(folder, name)
        if name not in expected.failed and not path.is_file() and path.name not in noted:
            yield path
