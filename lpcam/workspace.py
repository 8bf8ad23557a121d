"""The workspace of a run: the names of its files, and the refusal to mix two runs in them."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lpcam.checksums import forget
from lpcam.errors import LpcamError
from lpcam.files import read_json, write_atomically, write_json
from lpcam.locks import locked
from lpcam.records import Failure

DEFAULT = Path("lpcam_work")
SEED_RECORD = ".lpcam-seeds.json"
SEED_LOCK = ".lpcam-seeds.lock"
_PART_SUFFIXES = (".npy", ".png")


class Workspace:
    """The folder of a run.

    Args:
        root: The folder; it is made when the first stage writes to it.

    >>> Workspace(Path("W")).seeds("lpcam", "irn").as_posix()
    'W/seeds/lpcam/irn'
    """

    def __init__(self, root: Path | str = DEFAULT) -> None:
        self.root = Path(root)

    @property
    def features(self) -> Path:
        """Folder of the feature store."""
        return self.root / "features"

    @property
    def prototypes(self) -> Path:
        """The prototype file."""
        return self.root / "prototypes.safetensors"

    @property
    def support(self) -> Path:
        """The context prototypes of PACAM."""
        return self.root / "support.safetensors"

    @property
    def discriminants(self) -> Path:
        """The vectors of Fisher."""
        return self.root / "fisher.safetensors"

    @property
    def imported(self) -> Path:
        """Where the classifier and the photos of imported prototypes come from."""
        return self.root / "imported.json"

    @property
    def failures(self) -> Path:
        """Photos that could not be processed, a JSON line each."""
        return self.root / "failures.jsonl"

    def seeds(self, method: str, refiner: str) -> Path:
        """Folder of the seeds of a method in a refiner's format."""
        return self.root / "seeds" / method / refiner

    def evaluation(self, method: str) -> Path:
        """File of a method's scores."""
        return self.root / "evaluation" / f"{method}.json"

    def record_failures(self, stage: str, failures: tuple[Failure, ...], names: Collection[str] | None = None) -> None:
        """Replace what ``failures.jsonl`` says of a stage, and leave the other stages' lines.

        Args:
            stage: Name of the command.
            failures: Of the photos in ``names``.
            names: The photos a process was answerable for, so that what other processes said of theirs stays; None
                for all of the stage.
        """
        if not failures and not self.failures.exists():
            return
        with locked(self.root / ".lpcam-failures.lock"):
            found = self.failed()
            others = [entry for entry in found if entry["stage"] != stage]
            kept = [
                entry for entry in found if entry["stage"] == stage and names is not None and entry["name"] not in names
            ]
            mine = kept + [{"stage": stage, **asdict(failure)} for failure in failures]
            entries = others + sorted(mine, key=lambda entry: str(entry["name"]))
            text = "".join(f"{json.dumps(entry, ensure_ascii=False)}\n" for entry in entries)
            write_atomically(self.failures, lambda partial: _write(partial, text))

    def failed(self) -> list[dict[str, Any]]:
        """Return what ``failures.jsonl`` says: stage, name and reason of every photo that could not be processed.

        Raises:
            LpcamError: it is damaged.
        """
        if not self.failures.exists():
            return []
        try:
            text = self.failures.read_text(encoding="utf-8")
            found = [json.loads(line) for line in text.split("\n") if line.strip()]
            return [{key: str(entry[key]) for key in ("stage", "name", "reason")} for entry in found]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise LpcamError(
                f"{self.failures} is damaged ({' '.join(str(error).split())}): delete it; stages that run again name "
                "their photos anew"
            ) from error


def claim_seeds(
    folder: Path, made_by: dict[str, Any], split: str, photos: str, *, suffix: str = ".npy", overwrite: bool
) -> None:
    """Say in a seed folder what makes its seeds, or refuse a folder that others made.

    Seeds of several splits may share a folder; seeds of one split with other labels may not.

    Args:
        folder: Of the seeds.
        made_by: What the seeds depend on beside the photos, JSON values only; ``parts`` in it is keyed by the
            sub-folders of what lies beside the seeds.
        split: Name of the split.
        photos: Fingerprint of the split's names and labels.
        suffix: Of the seeds' files; those with ``.npy`` count in any case.
        overwrite: Delete the seeds of another run first.

    Raises:
        LpcamError: the folder holds seeds of another run, or files lpcam did not write.
    """
    from lpcam.store import MANIFEST, shard_files  # imports torch, which the names of files do not need

    if shard_files(folder) or (folder / MANIFEST).exists():
        raise LpcamError(f"{folder} is a feature store: choose another folder for the seeds")
    with locked(folder / SEED_LOCK):  # several processes of one run claim at once
        _claim(folder, made_by, split, photos, {".npy", suffix}, overwrite)


def seeds_made_by(folder: Path) -> dict[str, Any]:
    """Return what made the seeds of a folder, as its record says; nothing where it has none.

    Raises:
        LpcamError: the record is damaged.
    """
    made_by = seed_record(folder).get("made_by", {})
    return made_by if isinstance(made_by, dict) else {}


def seed_record(folder: Path) -> dict[str, Any]:
    """Return the record of a folder of seeds: ``made_by`` and ``splits``; nothing where it has none.

    Raises:
        LpcamError: it is damaged.
    """
    record = folder / SEED_RECORD
    return read_json(record, repair=f"delete {folder} or choose another --out") if record.exists() else {}


def _claim(folder: Path, made_by: dict[str, Any], split: str, photos: str, suffixes: set[str], overwrite: bool) -> None:
    # before the record: who reads no record must not see the seeds that followed it
    there = _seeds(folder, suffixes, made_by)
    record = {} if overwrite else seed_record(folder)
    splits = record.get("splits", {})
    same = record.get("made_by") == made_by and splits.get(split, photos) == photos
    if same and split in splits:
        return
    if not same and there and not overwrite:
        raise LpcamError(
            f"{folder} holds seeds made with other prototypes, weights, scales, precision or photos, "
            "with other parts or by another tool: "
            "add --overwrite to replace them, or choose another --out or --workspace"
        )
    if overwrite:
        for path in _seeds(folder, suffixes, made_by, _made_before(folder)):
            path.unlink()
        forget(folder)
    record = {"made_by": made_by, "splits": {**(splits if same else {}), split: photos}}
    write_json(folder / SEED_RECORD, record, sealed=True)


def _made_before(folder: Path) -> dict[str, Any]:
    """Return what made the seeds that are replaced, as far as the record can be read."""
    try:
        made_by = seed_record(folder).get("made_by", {})
    except LpcamError:
        return {}
    return made_by if isinstance(made_by, dict) else {}


def _seeds(folder: Path, suffixes: set[str], *made_by: dict[str, Any]) -> list[Path]:
    """Return the seeds of a folder, and what lies beside them in the sub-folders that ``made_by`` names."""
    named = (made.get("parts") for made in made_by)
    parts = {
        name
        for of in named
        if isinstance(of, dict)
        for name in of
        if name not in ("", "..") and Path(name).name == name
    }
    found = [path for suffix in suffixes for path in folder.glob(f"*{suffix}")]
    found += [path for name in parts for suffix in _PART_SUFFIXES for path in (folder / name).glob(f"*{suffix}")]
    return sorted(found)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
