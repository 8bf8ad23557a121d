"""All files of a workspace, one kind after the other."""

from __future__ import annotations

import time
from pathlib import Path

from lpcam.checksums import SUMS
from lpcam.errors import LpcamError
from lpcam.files import is_partial, read_json
from lpcam.records import Progress, silent
from lpcam.store import shard_files
from lpcam.verification.centres import check_centres
from lpcam.verification.features import check_features, photo_names
from lpcam.verification.seeds import Expected, check_seeds
from lpcam.verification.verdict import Findings, Verdict
from lpcam.workspace import Workspace

_SCORES = ("miou", "precision", "recall", "threshold")
_OURS = frozenset({"features", "seeds", "evaluation", "report", "inspection", "failures.jsonl", "imported.json"})


def verify(workspace: Workspace, *, progress: Progress = silent) -> Verdict:
    """Check every file of a workspace: checksum, shape, range, NaN, what is missing and what is too much.

    Nothing is changed. Every file is read once or twice, a shard of features or a seed at a time.

    Args:
        workspace: Of a run, complete or not.
        progress: Told after every shard and seed.

    Raises:
        LpcamError: there is no workspace.
    """
    if not workspace.root.is_dir():
        raise LpcamError(f"{workspace.root} does not exist: name the folder of a run by --workspace")
    started = time.perf_counter()
    folders = sorted(path for path in workspace.root.glob("seeds/*/*") if path.is_dir())
    total = len(shard_files(workspace.features)) + sum(_lines(folder / SUMS) for folder in folders)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress("verify", done, max(total, done))

    parts = {name: Findings(workspace.root) for name in ("features", "centres", "seeds", "evaluation", "records")}
    manifest = check_features(workspace.features, parts["features"], tick)
    check_centres(workspace, manifest, parts["centres"])
    failed = _failures(workspace, parts["records"])
    names = photo_names(workspace.features) if manifest and manifest.dumped else ()
    expected = Expected(names, manifest.description.photos if manifest else "", failed)
    for folder in folders:
        check_seeds(folder, expected, parts["seeds"], tick)
    for path in sorted(workspace.root.glob("evaluation/*.json")):
        _scores(path, parts["evaluation"])
    _records(workspace, parts["records"])
    return Verdict(
        workspace.root,
        {name: found.checked for name, found in parts.items() if found.checked},
        tuple(problem for found in parts.values() for problem in found.problems),
        tuple(dict.fromkeys(doubt for found in parts.values() for doubt in found.doubts)),
        time.perf_counter() - started,
    )


def _scores(path: Path, findings: Findings) -> None:
    again = f"lpcam evaluate -w {findings.root} --method {path.stem}"
    try:
        scores = read_json(path, repair="x")
        values = [scores[name] for name in _SCORES]
        fractions = [value for value in (*values, *scores["per_class"].values()) if value is not None]
        if not all(0 <= float(value) <= 1 for value in fractions):
            raise ValueError("a score outside 0..1")
    except LpcamError as error:
        findings.wrong(path, error, again)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        findings.wrong(path, f"is no evaluation ({error!r})", again)
    findings.checked += 1


def _failures(workspace: Workspace, findings: Findings) -> set[str]:
    """Return the photos that ``failures.jsonl`` names."""
    try:
        failed = workspace.failed()
    except LpcamError as error:
        findings.wrong(workspace.failures, error, "delete it; every stage writes its own lines again")
        return set()
    findings.checked += workspace.failures.exists()
    if failed:
        findings.doubts.append(f"{len(failed)} photos failed, see {workspace.failures}")
    return {str(entry["name"]) for entry in failed}


def _records(workspace: Workspace, findings: Findings) -> None:
    """Check what remembers an import, and name what a killed process or a stranger left."""
    if workspace.imported.exists():
        findings.checked += 1
        try:
            read_json(workspace.imported, repair="x")
        except LpcamError as error:
            findings.wrong(workspace.imported, error, "lpcam import-prototypes … --overwrite")
    for path in sorted(workspace.root.rglob("*")):
        if path.is_file() and is_partial(path):
            findings.doubts.append(f"{findings.name(path)} is half-written, by a process that is gone or still works")
    centres = {workspace.prototypes.name, workspace.support.name, workspace.discriminants.name}
    for path in sorted(workspace.root.iterdir()):
        if path.name not in _OURS | centres and not path.name.startswith("."):
            findings.doubts.append(f"{path.name} is not lpcam's, and was not looked at")


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0
