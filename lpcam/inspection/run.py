"""What is done in a workspace, what is left, and what does not belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lpcam.corridor.basis import Basis, read_basis
from lpcam.errors import LpcamError
from lpcam.files import read_json
from lpcam.inspection.centres import of_discriminants, of_prototypes, of_support
from lpcam.inspection.features import of_features
from lpcam.inspection.findings import Facts, Findings
from lpcam.refiners import DEFAULT_REFINER
from lpcam.store import MANIFEST, shard_files
from lpcam.workspace import Workspace, seeds_made_by

Found = TypeVar("Found")
Said = tuple[bool, str, tuple[str, ...]]
"""Whether it is complete, what it holds in words, and what is doubtful of it."""


@dataclass(frozen=True)
class _Known:
    """What everything in a workspace is held against.

    Attributes:
        basis: Classifier and photos; None where the workspace does not say them.
        photos: Photos of the features; None where that cannot be said.
        prototypes: Fingerprint of the prototypes that are there.
    """

    basis: Basis | None
    photos: int | None
    prototypes: str | None

    @classmethod
    def of(cls, workspace: Workspace) -> _Known:
        """Ask a workspace, whatever is damaged in it."""
        features = _if_whole(lambda: of_features(workspace.features).facts.get("photos"))
        prototypes = _if_whole(lambda: of_prototypes(workspace.prototypes).facts["fingerprint"])
        return cls(_if_whole(lambda: read_basis(workspace)), features or None, prototypes)


def of_workspace(workspace: Workspace) -> Findings:
    """Return what is done in a workspace: a row for everything that is there, and the next command."""
    known = _Known.of(workspace)
    rows: list[Facts] = []
    doubts: list[str] = []
    for stage, path, say in _things(workspace):
        try:
            complete, what, doubtful = say(path, known)
            state = "complete" if complete else "incomplete"
        except LpcamError as error:
            state, what, doubtful = "damaged", "", (str(error),)
        rows.append({"stage": stage, "state": state, "what": what, "where": str(path.relative_to(workspace.root))})
        doubts += doubtful
    facts, moved = _origin(known.basis)
    doubts += [*moved, *_failures(workspace)]
    return Findings("workspace", workspace.root, facts, tuple(rows), tuple(doubts), (_next(workspace, rows),))


def _things(workspace: Workspace) -> Iterator[tuple[str, Path, Callable[[Path, _Known], Said]]]:
    """Yield what is there: the stage it comes from, its place, and who tells of it."""
    if shard_files(workspace.features) or (workspace.features / MANIFEST).is_file():
        yield "features", workspace.features, _features
    centres = (
        ("prototypes", workspace.prototypes, _prototypes),
        ("context of pacam", workspace.support, _support),
        ("discriminants of fisher", workspace.discriminants, _discriminants),
    )
    yield from ((stage, path, say) for stage, path, say in centres if path.is_file())
    yield from (("seeds", path, _seeds) for path in sorted(workspace.root.glob("seeds/*/*")) if path.is_dir())
    yield from (("evaluation", path, _scores) for path in sorted(workspace.root.glob("evaluation/*.json")))


def _features(folder: Path, known: _Known) -> Said:
    found = of_features(folder)
    facts = found.facts
    if not facts.get("kept", True):
        return True, "clustered from memory, not kept", ()
    what = f"{facts['photos']:,} photos in {facts['shards']:,} shards, {facts['bytes'] / 1e6:,.1f} MB"
    return facts["complete"], what, found.doubts


def _prototypes(path: Path, known: _Known) -> Said:
    found = of_prototypes(path)
    facts = found.facts
    what = f"{facts['class_prototypes']} class prototypes and {facts['context_prototypes']} context prototypes"
    return True, f"{what} of {facts['classes']} classes", (*found.doubts, *_of_other_features(path, facts, known))


def _support(path: Path, known: _Known) -> Said:
    facts = of_support(path).facts
    what = f"{facts['context_prototypes']} context prototypes of {facts['classes']} classes"
    return True, what, _of_other_features(path, facts, known)


def _discriminants(path: Path, known: _Known) -> Said:
    found = of_discriminants(path)
    doubts = (*found.doubts, *_of_other_features(path, found.facts, known))
    return True, f"{found.facts['classes']} classes", doubts


def _of_other_features(path: Path, facts: Facts, known: _Known) -> tuple[str, ...]:
    if known.basis is None or facts["features"] == known.basis.features:
        return ()
    return (f"{path.name} was made from other features than those that are there: lpcam cluster --overwrite",)


def _seeds(folder: Path, known: _Known) -> Said:
    files = sum(1 for suffix in ("npy", "png") for _ in folder.glob(f"[!.]*.{suffix}"))
    made_with = seeds_made_by(folder).get("prototypes")
    others = None not in (made_with, known.prototypes) and made_with != known.prototypes
    place = "/".join(folder.parts[-3:])
    doubts = (f"{place} was made with other prototypes: lpcam generate --overwrite",) if others else ()
    if known.photos is None:
        return True, f"{files:,} files", doubts
    return files >= known.photos, f"{files:,} files for {known.photos:,} photos of the features", doubts


def _scores(path: Path, known: _Known) -> Said:
    scores = read_json(path, repair="run 'lpcam evaluate' again")
    try:
        what = f"mIoU {100 * scores['miou']:.1f} % at threshold {scores['threshold']:.2f}, split {scores['split']}"
    except (KeyError, TypeError, ValueError) as error:
        raise LpcamError(f"{path} is damaged ({error!r}): run 'lpcam evaluate' again") from error
    return True, what, tuple(scores.get("notices", ()))


def _if_whole(read: Callable[[], Found]) -> Found | None:
    """Return what is read, or None where it is missing or damaged: its own row says so."""
    try:
        return read()
    except LpcamError:
        return None


def _origin(basis: Basis | None) -> tuple[Facts, list[str]]:
    """Return classifier and photos that a workspace remembers, and which of their files are gone."""
    if basis is None:
        return {}, []
    classifier, data = basis.classifier, basis.data
    places = {"weights": classifier.weights, "root": data and data.root, "labels": data and data.labels}
    files = {name: Path(place) for name, place in places.items() if place and place != "imagenet"}
    facts = {
        "dataset": data and data.dataset,
        "root": data and str(data.root),
        "split": data and data.split,
        "classes": len(basis.classes),
        "arch": classifier.arch,
        "weights": str(classifier.weights),
        "scales": list(basis.scales),
    }
    return facts, [f"{name} {path} is not there any more" for name, path in files.items() if not _is_there(path)]


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _failures(workspace: Workspace) -> list[str]:
    stages = Counter(str(failure["stage"]) for failure in workspace.failed())
    return [f"{count} photos failed in {stage}, see {workspace.failures}" for stage, count in stages.items()]


def _next(workspace: Workspace, rows: list[Facts]) -> str:
    done = {row["stage"] for row in rows if row["state"] == "complete"}
    where = f"-w {workspace.root}"
    if workspace.imported.is_file():
        done.add("features")
    if "features" not in done:
        return f"lpcam extract-features --dataset … --root … --arch … --weights … {where}"
    if not done & {"prototypes", "context of pacam", "discriminants of fisher"}:
        return f"lpcam cluster {where}"
    if "seeds" not in done:
        return f"lpcam generate {where} --refiner {DEFAULT_REFINER}"
    return f"lpcam report {where}" if "evaluation" in done else f"lpcam evaluate {where}   (where there are masks)"
