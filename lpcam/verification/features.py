"""The feature store: every shard against its manifest, its checksum, and what features and CAMs can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from lpcam.errors import LpcamError
from lpcam.store import (
    CLASS_WEIGHTS,
    DTYPES,
    MANIFEST,
    FeatureStore,
    Manifest,
    read_manifest,
    require_shard,
    shard_files,
)
from lpcam.store.manifest import read_class_weights
from lpcam.store.shards import shard_header
from lpcam.verification.verdict import Findings

_AGAIN = "lpcam extract-features … (the same command again; it keeps what is whole)"


def check_features(folder: Path, findings: Findings, tick: Callable[[], None]) -> Manifest | None:
    """Check all files of a store; return its manifest, where that can be read."""
    present = shard_files(folder)
    if not present and not (folder / MANIFEST).exists():
        return None
    try:
        manifest = read_manifest(folder)
    except LpcamError as error:
        findings.wrong(folder / MANIFEST, error, _AGAIN)
        return None
    findings.checked += 1
    listed = [folder / shard.file for shard in manifest.shards]
    for path in present:
        if path not in listed:
            findings.wrong(path, "is not in the manifest", f"delete it, or {_AGAIN}")
    sound = [_shard(path, manifest, findings, tick) for path in listed]
    _class_weights(folder, manifest, findings)
    if manifest.dumped and all(sound):
        _whole(folder, findings)
    return manifest


def photo_names(folder: Path) -> tuple[str, ...]:
    """Return the photos a complete store has features of, or nothing where it cannot say."""
    try:
        return tuple(photo.name for photo in FeatureStore(folder).photos)
    except LpcamError:
        return ()


def _shard(path: Path, manifest: Manifest, findings: Findings, tick: Callable[[], None]) -> bool:
    """Check one shard; return whether it is sound."""
    before = len(findings.problems)
    try:
        require_shard(path)
        header = shard_header(path)
        for what in _oddities(path, header, manifest):
            findings.wrong(path, what, _AGAIN)
    except LpcamError as error:
        findings.wrong(path, error, _AGAIN)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        findings.wrong(path, f"has a header that nobody can read ({error!r})", _AGAIN)
    findings.checked += 1
    tick()
    return len(findings.problems) == before


def _oddities(path: Path, header: dict[str, Any], manifest: Manifest) -> list[str]:
    """Return what a shard whose checksum holds has all the same that no features can have."""
    description, photos = manifest.description, header["photos"]
    with safe_open(path, framework="pt") as file:
        features, cam = file.get_tensor("features"), file.get_tensor("cam")
    rows = [entry["grid"][0] * entry["grid"][1] for entry in photos]
    values = sum(count * len(entry["labels"]) for count, entry in zip(rows, photos, strict=True))
    labels = {label for entry in photos for label in entry["labels"]}
    failed = {failure["name"] for failure in header["failures"]}
    accounted = {entry["name"] for entry in photos} | failed
    oddities = {
        "belongs to other features": header["fingerprint"] != description.fingerprint,
        f"holds {features.dtype} features {list(features.shape)}, not {description.dtype} [{sum(rows)}, "
        f"{description.channels}]": (features.dtype, tuple(features.shape))
        != (DTYPES[description.dtype], (sum(rows), description.channels)),
        f"holds a CAM of {len(cam)} values, not {values}": tuple(cam.shape) != (values,),
        "has features that are not finite": not _is_finite(features),
        "has a CAM outside 0..1": bool(cam.numel()) and not (float(cam.min()) >= 0 and float(cam.max()) <= 1),
        "has labels that are no classes": not labels <= set(range(len(description.classes))),
        "does not account for all of its photos": accounted != set(header["names"]),
    }
    return [what for what, is_so in oddities.items() if is_so]


def _is_finite(features: Tensor) -> bool:
    return bool(torch.isfinite(features).all())


def _class_weights(folder: Path, manifest: Manifest, findings: Findings) -> None:
    try:
        read_class_weights(folder, manifest.description)
    except LpcamError as error:
        findings.wrong(folder / CLASS_WEIGHTS, error, _AGAIN)
    findings.checked += 1


def _whole(folder: Path, findings: Findings) -> None:
    """Check what only all shards together can show."""
    try:
        store = FeatureStore(folder)
    except LpcamError as error:
        findings.wrong(folder / MANIFEST, error, _AGAIN)
        return
    names = [photo.name for photo in store.photos]
    if len(set(names)) < len(names):
        findings.wrong(folder / MANIFEST, "lists shards with the same photos", _AGAIN)
    if store.failures:
        findings.doubts.append(f"{len(store.failures)} photos have no features, as they could not be read")
