"""What seed files hold, of whatever family, and other dictionaries of the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lpcam.errors import LpcamError
from lpcam.inspection.findings import Facts, Findings, spread
from lpcam.pickles import load_dictionary
from lpcam.records import ActivationMaps
from lpcam.refiners import get_reader, readable
from lpcam.workspace import seeds_made_by

LOOKED_AT = 20
"""Most seeds of a folder that are opened."""


def of_seed(path: Path) -> Findings:
    """Return what a dictionary of maps, or of image-level labels, holds.

    Raises:
        LpcamError: it cannot be read, or asks for code to be run.
    """
    content = load_dictionary(path)
    if _are_labels(content):
        return _of_labels(path, content)
    made_by = seeds_made_by(path.parent)
    families = _families(path, made_by)
    keys = [_key_facts(name, value) for name, value in content.items()]
    facts = {"families": families, "bytes": path.stat().st_size, **_origin(made_by), "keys": keys}
    if not families:
        return Findings("dictionary", path, facts, doubts=("no family that lpcam reads has such keys",))
    maps = get_reader(families[0]).read(path.parent, path.stem)
    rows, doubts = _maps(maps, made_by.get("classes", ()))
    facts = {**facts, "size": list(maps.high_res.shape[1:])}
    return Findings("seed file", path, facts, rows, doubts)


def of_seed_folder(folder: Path) -> Findings:
    """Return what a folder of seeds holds; some of its files are opened, spread over all.

    Raises:
        LpcamError: its record is damaged.
    """
    made_by = seeds_made_by(folder)
    suffix = ".npy" if any(folder.glob("[!.]*.npy")) else ".png"
    files = sorted(folder.glob(f"[!.]*{suffix}"))
    looked = files[:: max(1, -(-len(files) // LOOKED_AT))]
    families = _families(looked[0], made_by) if looked and suffix == ".npy" else []
    facts: Facts = {"files": len(files), "families": families, "bytes": sum(path.stat().st_size for path in files)}
    facts |= {**_origin(made_by), "made_by": {name: value for name, value in made_by.items() if name != "classes"}}
    doubts = _of_files(looked, families[0]) if families else ()
    if doubts and len(looked) < len(files):
        doubts = (*doubts, f"{len(looked)} of {len(files)} files were opened")
    return Findings("folder of seeds", folder, facts, doubts=doubts, next_steps=_next(folder, made_by, families))


def _origin(made_by: Mapping[str, Any]) -> Facts:
    return {name: made_by[name] for name in ("method", "propagation") if name in made_by}


def _families(path: Path, made_by: Mapping[str, Any]) -> list[str]:
    """Return the families that read a file: the one its folder says, or all that take it."""
    said = made_by.get("refiner")
    return [name for name in ((said,) if said in readable() else readable()) if _reads(name, path)]


def _reads(family: str, path: Path) -> bool:
    try:
        get_reader(family).read(path.parent, path.stem)
    except LpcamError:
        return False
    return True


def _key_facts(name: Any, value: Any) -> Facts:
    array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    numbers = array.dtype.kind in "fiub" and array.size
    return {
        "key": _worded(name),
        "type": "torch" if isinstance(value, Tensor) else type(value).__name__,
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "range": spread(array.astype(np.float64).reshape(-1)[[array.argmin(), array.argmax()]].tolist())
        if numbers
        else None,
    }


def _worded(key: object) -> str:
    try:
        return str(key)
    except ValueError:  # Python writes no numbers of thousands of digits
        return "a number of thousands of digits"


def _maps(maps: ActivationMaps, classes: Sequence[str]) -> tuple[tuple[Facts, ...], tuple[str, ...]]:
    """Return a row a class of the photo, and what is doubtful of its maps."""
    planes = maps.high_res.numpy()
    rows = tuple(
        {"class": _name(label, classes), "label": label, **_plane(plane)}
        for label, plane in zip(maps.labels, planes, strict=True)
    )
    doubts = [f"the map of {row['class']} is zero everywhere" for row in rows if row["range"] == [0.0, 0.0]]
    if not rows:
        doubts.append("the photo has no class, so there are no maps")
    return rows, tuple(doubts)


def _plane(plane: NDArray[np.float32]) -> Facts:
    return {
        "range": spread([float(plane.min()), float(plane.max())]),
        "mean": round(float(plane.mean()), 4),
        "above_0.3": round(float((plane > 0.3).mean()), 4),
    }


def _name(label: int, classes: Sequence[str]) -> str:
    return classes[label] if label < len(classes) else f"class {label}"


def _of_files(files: Sequence[Path], family: str) -> tuple[str, ...]:
    empty, damaged = [], []
    for path in files:
        try:
            maps = get_reader(family).read(path.parent, path.stem)
        except LpcamError as error:
            damaged.append(str(error))
            continue
        if maps.labels and not bool(maps.high_res.flatten(1).any(dim=1).all()):
            empty.append(path.stem)
    zero = (f"a map is zero everywhere in {', '.join(empty[:5])}{', …' if len(empty) > 5 else ''}",) if empty else ()
    return (*zero, *damaged)


def _next(folder: Path, made_by: Mapping[str, Any], families: Sequence[str]) -> tuple[str, ...]:
    if not families:
        return ()
    method = f" --method {made_by['method']}" if "method" in made_by else ""
    of_a_run = folder.parent.parent.name == "seeds"
    where = f"-w {folder.parents[2]}" if of_a_run else f"--seeds {folder}"
    return (f"lpcam evaluate {where} --refiner {families[0]}{method}   (where there are masks)",)


def _are_labels(content: Mapping[Any, Any]) -> bool:
    """Return whether a dictionary holds a 0/1 vector of one length for every name."""
    vectors = [np.asarray(value) for value in content.values() if not isinstance(value, str)]
    if len(vectors) != len(content) or not vectors or "keys" in content:
        return False
    return all(vector.ndim == 1 and vector.shape == vectors[0].shape for vector in vectors) and all(
        bool(np.isin(vector, (0, 1)).all()) for vector in vectors
    )


def _of_labels(path: Path, content: Mapping[Any, Any]) -> Findings:
    table = np.stack([np.asarray(value) for value in content.values()])
    rows = tuple({"class": label, "photos": int(count)} for label, count in enumerate(table.sum(axis=0)))
    first = next(iter(content))
    facts = {
        "photos": len(table),
        "classes": table.shape[1],
        "first_name": _worded(first),
        "bytes": path.stat().st_size,
    }
    bare = int((~table.any(axis=1)).sum())
    doubts = (f"{bare} photos have no class",) if bare else ()
    return Findings("image-level labels", path, facts, rows, doubts, (f"lpcam extract-features … --labels {path}",))
