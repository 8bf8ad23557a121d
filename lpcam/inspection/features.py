"""What a feature store holds, complete or not, and one of its shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lpcam.errors import LpcamError
from lpcam.inspection.findings import Facts, Findings
from lpcam.records import Failure
from lpcam.store import MANIFEST, FeatureStore, StoredPhoto, read_manifest, shard_files, shard_header
from lpcam.store.description import REPAIR


def of_features(folder: Path) -> Findings:
    """Return what a feature store holds: a row a class.

    Raises:
        LpcamError: it is complete by its manifest and cannot be read.
    """
    if not (folder / MANIFEST).is_file():
        return _unfinished(folder)
    manifest = read_manifest(folder)
    if not manifest.dumped:
        facts = {"complete": True, "kept": False, **_description(vars(manifest.description))}
        doubt = "the features were clustered from memory and not kept (--no-dump)"
        return Findings("feature store", folder, facts, (), (doubt,), _next(folder))
    store = FeatureStore(folder)
    facts = {
        "complete": True,
        **_counts(store.photos, shard_files(folder)),
        **_description(vars(store.description)),
        "fingerprint": store.description.fingerprint,
    }
    rows = _by_class(store.photos, store.description.classes)
    return Findings("feature store", folder, facts, rows, _doubts(store.failures, rows), _next(folder))


def of_shard(path: Path) -> Findings:
    """Return what one shard of a store holds: a row a photo.

    Raises:
        LpcamError: it is half-written.
    """
    header, dtype = _header(path)
    try:
        rows = tuple(
            {"photo": entry["name"], "classes": entry["labels"], "size": entry["size"], "grid": entry["grid"]}
            for entry in header["photos"]
        )
        facts = {"photos": len(rows), **dtype, "bytes": path.stat().st_size, "fingerprint": header["fingerprint"]}
        failures = [Failure(str(failure["name"]), str(failure["reason"])) for failure in header["failures"]]
    except (KeyError, TypeError) as error:
        raise _other(path, error) from error
    return Findings("shard of a feature store", path, facts, rows, _failed(failures))


def _unfinished(folder: Path) -> Findings:
    shards = shard_files(folder)
    photos, damaged = 0, []
    kind: Facts = {}
    for path in shards:
        try:
            facts = of_shard(path).facts
            photos += facts["photos"]
            kind = {name: facts[name] for name in ("channels", "dtype")}
        except LpcamError as error:
            damaged.append(str(error))
    total = sum(path.stat().st_size for path in shards)
    facts = {"complete": False, "photos": photos, "shards": len(shards), **kind, "bytes": total}
    doubts = ("no manifest: the extraction goes on, or was interrupted", *damaged)
    again = f"lpcam extract-features … -w {folder.parent}   (the same command again keeps what is whole)"
    return Findings("feature store", folder, facts, (), doubts, (again,))


def _counts(photos: Sequence[StoredPhoto], shards: Sequence[Path]) -> Facts:
    return {
        "photos": len(photos),
        "local_features": sum(photo.rows for photo in photos),
        "shards": len(shards),
        "bytes": sum(path.stat().st_size for path in shards),
    }


def _description(description: dict[str, Any]) -> Facts:
    names = ("channels", "dtype", "arch", "layer", "stride", "precision", "dataset", "split", "weights_sha256")
    facts = {name: description[name] for name in names}
    return {**facts, "scales": list(description["scales"]), "classes": len(description["classes"])}


def _by_class(photos: Sequence[StoredPhoto], classes: Sequence[str]) -> tuple[Facts, ...]:
    of_photos = Counter(label for photo in photos for label in photo.labels)
    positions: Counter[int] = Counter()
    for photo in photos:
        positions.update(dict.fromkeys(photo.labels, photo.rows))
    return tuple(
        {"class": name, "photos": of_photos[label], "local_features": positions[label]}
        for label, name in enumerate(classes)
    )


def _doubts(failures: Sequence[Failure], rows: Sequence[Facts]) -> tuple[str, ...]:
    unseen = [row["class"] for row in rows if not row["photos"]]
    missing = (f"no photo shows {', '.join(unseen[:5])}{', …' if len(unseen) > 5 else ''}",) if unseen else ()
    return (*_failed(failures), *missing)


def _failed(failures: Sequence[Failure]) -> tuple[str, ...]:
    return tuple(f"{failure.name} could not be read: {failure.reason}" for failure in failures)


def _header(path: Path) -> tuple[dict[str, Any], Facts]:
    """Return the header of a shard, and channels and dtype of its features."""
    header = shard_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            features = file.get_slice("features")
            return header, {"channels": features.get_shape()[1], "dtype": _DTYPES[features.get_dtype()]}
    except (SafetensorError, OSError, KeyError, IndexError) as error:
        raise _other(path, error) from error


def _other(path: Path, error: Exception) -> LpcamError:
    return LpcamError(f"{path} is no shard that lpcam wrote ({error!r}): {REPAIR}")


_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}


def _next(folder: Path) -> tuple[str, ...]:
    return (f"lpcam cluster -w {folder.parent}",)
