"""What is done in a workspace, what is left, and what does not belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from lpcam.corridor.basis import Basis, read_basis
from lpcam.errors import LpcamError
from lpcam.files import read_json
from lpcam.inspection.centres import of_discriminants, of_prototypes, of_support
from lpcam.inspection.features import of_features
from lpcam.inspection.findings import Facts, Findings
from lpcam.refiners import DEFAULT_REFINER
from lpcam.store import MANIFEST, shard_files
from lpcam.workspace import Workspace, seeds_made_by

Said = tuple[bool, str, tuple[str, ...]]
"""Whether it is complete, what it holds in words, and what is doubtful of it."""


def of_workspace(workspace: Workspace) -> Findings:
    """Return what is done in a workspace: a row for everything that is there, and the next command."""
    rows: list[Facts] = []
    doubts: list[str] = []
    for stage, path, say in _things(workspace):
        try:
            complete, what, doubtful = say(path)
            state = "complete" if complete else "incomplete"
        except LpcamError as error:
            state, what, doubtful = "damaged", "", (str(error),)
        rows.append({"stage": stage, "state": state, "what": what, "where": str(path.relative_to(workspace.root))})
        doubts += doubtful
    facts, moved = _origin(workspace)
    doubts += [*moved, *_failures(workspace)]
    return Findings("workspace", workspace.root, facts, tuple(rows), tuple(doubts), (_next(workspace, rows),))


def _things(workspace: Workspace) -> Iterator[tuple[str, Path, Callable[[Path], Said]]]:
    """Yield what is there: the stage it comes from, its place, and who tells of it."""
    if shard_files(workspace.features) or (workspace.features / MANIFEST).is_file():
        yield "features", workspace.features, _features
    centres = (
        ("prototypes", workspace.prototypes, _prototypes),
        ("context of pacam", workspace.support, _support),
        ("discriminants of fisher", workspace.discriminants, _discriminants),
    )
    yield from ((stage, path, say) for stage, path, say in centres if path.is_file())
    for folder in sorted(path for path in workspace.root.glob("seeds/*/*") if path.is_dir()):
        yield "seeds", folder, lambda path: _seeds(workspace, path)
    for path in sorted(workspace.root.glob("evaluation/*.json")):
        yield "evaluation", path, _scores


def _features(folder: Path) -> Said:
    found = of_features(folder)
    facts = found.facts
    if not facts.get("kept", True):
        return True, "clustered from memory, not kept", ()
    what = f"{facts['photos']:,} photos in {facts['shards']:,} shards, {facts['bytes'] / 1e6:,.1f} MB"
    return facts["complete"], what, found.doubts


def _prototypes(path: Path) -> Said:
    found = of_prototypes(path)
    facts = found.facts
    what = f"{facts['class_prototypes']} class prototypes and {facts['context_prototypes']} context prototypes"
    return True, f"{what} of {facts['classes']} classes", (*found.doubts, *_of_other_features(path, facts))


def _support(path: Path) -> Said:
    facts = of_support(path).facts
    what = f"{facts['context_prototypes']} context prototypes of {facts['classes']} classes"
    return True, what, _of_other_features(path, facts)


def _discriminants(path: Path) -> Said:
    found = of_discriminants(path)
    return True, f"{found.facts['classes']} classes", (*found.doubts, *_of_other_features(path, found.facts))


def _of_other_features(path: Path, facts: Facts) -> tuple[str, ...]:
    basis = _basis(Workspace(path.parent))
    if basis is None or facts["features"] == basis.features:
        return ()
    return (f"{path.name} was made from other features than those that are there: lpcam cluster --overwrite",)


def _seeds(workspace: Workspace, folder: Path) -> Said:
    files = sum(1 for suffix in ("npy", "png") for _ in folder.glob(f"[!.]*.{suffix}"))
    made_by, expected = seeds_made_by(folder), _photos(workspace)
    what = f"{files:,} files" if expected is None else f"{files:,} files for {expected:,} photos of the features"
    return expected is None or files >= expected, what, _of_other_prototypes(workspace, folder, made_by)


def _of_other_prototypes(workspace: Workspace, folder: Path, made_by: Facts) -> tuple[str, ...]:
    made_with = made_by.get("prototypes")
    if made_with is None or not workspace.prototypes.is_file():
        return ()
    there = of_prototypes(workspace.prototypes).facts["fingerprint"]
    place = folder.relative_to(workspace.root)
    return () if there == made_with else (f"{place} was made with other prototypes: lpcam generate --overwrite",)


def _scores(path: Path) -> Said:
    scores = read_json(path, repair="run 'lpcam evaluate' again")
    try:
        what = f"mIoU {100 * scores['miou']:.1f} % at threshold {scores['threshold']:.2f}, split {scores['split']}"
    except (KeyError, TypeError, ValueError) as error:
        raise LpcamError(f"{path} is damaged ({error!r}): run 'lpcam evaluate' again") from error
    return True, what, tuple(scores.get("notices", ()))


def _photos(workspace: Workspace) -> int | None:
    """Return how many photos the features are of, where that can be said."""
    try:
        photos = of_features(workspace.features).facts.get("photos")
    except LpcamError:
        return None
    return photos if isinstance(photos, int) and photos else None


def _basis(workspace: Workspace) -> Basis | None:
    try:
        return read_basis(workspace)
    except LpcamError:
        return None


def _origin(workspace: Workspace) -> tuple[Facts, list[str]]:
    """Return classifier and photos that the workspace remembers, and which of their files are gone."""
    basis = _basis(workspace)
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
    return facts, [f"{name} {path} is not there any more" for name, path in files.items() if not path.exists()]


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
