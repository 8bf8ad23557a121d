"""Prototypes, context and discriminants: each file by itself, and whether it belongs to the features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lpcam import tensorfile
from lpcam.discriminants import FILE as DISCRIMINANTS
from lpcam.discriminants import Discriminants
from lpcam.errors import LpcamError
from lpcam.prototypes import FILE as PROTOTYPES
from lpcam.prototypes import Prototypes
from lpcam.store import Manifest
from lpcam.support import FILE as SUPPORT
from lpcam.support import Support
from lpcam.verification.verdict import Findings
from lpcam.workspace import Workspace


def check_centres(workspace: Workspace, manifest: Manifest | None, findings: Findings) -> None:
    """Check every file of centres that is there."""
    kinds: tuple[tuple[Path, tensorfile.FileKind, Callable[[Path], Any]], ...] = (
        (workspace.prototypes, PROTOTYPES, Prototypes.load),
        (workspace.support, SUPPORT, Support.load),
        (workspace.discriminants, DISCRIMINANTS, Discriminants.load),
    )
    for path, kind, load in kinds:
        if not path.exists():
            continue
        again = f"{kind.command} --overwrite"
        try:
            found = load(path)
        except LpcamError as error:
            findings.wrong(path, error, again)
            continue
        findings.checked += 1
        findings.doubts += _doubts(path, kind, found, manifest)


def _doubts(path: Path, kind: tensorfile.FileKind, found: Any, manifest: Manifest | None) -> Iterator[str]:
    made = found.provenance
    if manifest is not None and made.features and made.features != manifest.description.fingerprint:
        yield f"{path.name} was made from other features than those that are there: {kind.command} --overwrite"
    if not _has_checksum(path, kind):
        yield f"{path.name} has no checksum, as it was made by an earlier version: {kind.command} --overwrite"
    if isinstance(found, Prototypes):
        without = [
            name for name, centres in zip(made.classes, found.centres, strict=True) if not len(centres.class_prototypes)
        ]
        if without:
            yield f"{len(without)} classes have no class prototype, so their maps are zero: {', '.join(without[:5])}"


def _has_checksum(path: Path, kind: tensorfile.FileKind) -> bool:
    try:
        return bool(tensorfile.checksum_of(path, kind.key))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return False
