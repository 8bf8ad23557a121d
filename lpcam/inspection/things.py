"""What a path is, and who tells of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lpcam import discriminants, prototypes, support
from lpcam.datasets.lists import PHOTO_SUFFIXES
from lpcam.errors import LpcamError
from lpcam.inspection.centres import of_discriminants, of_prototypes, of_support
from lpcam.inspection.checkpoint import of_checkpoint, of_head
from lpcam.inspection.features import of_features, of_shard
from lpcam.inspection.findings import Findings
from lpcam.inspection.run import of_workspace
from lpcam.inspection.seeds import of_seed, of_seed_folder
from lpcam.store import MANIFEST, shard_files
from lpcam.workspace import SEED_RECORD, Workspace

_OF_A_RUN = ("features", "seeds", "evaluation", "prototypes.safetensors", "support.safetensors", "fisher.safetensors")
_TEXTS = (".txt", ".csv", ".json", ".jsonl", ".md", ".sh", ".py", ".xml", ".html")
_KINDS: dict[str, Callable[[Path], Findings]] = {
    prototypes.FILE.key: of_prototypes,
    support.FILE.key: of_support,
    discriminants.FILE.key: of_discriminants,
}


def inspect(path: Path, *, arch: str | None = None) -> Findings:
    """Return what a file or a folder holds, whatever it is; a photo is for `lpcam.inspection.maps_of_photo`.

    Args:
        path: A workspace, a feature store or a folder of seeds; a file of prototypes, context or discriminants, a
            shard, a checkpoint, class weights, seeds or image-level labels.
        arch: Of a checkpoint, to hold it against that architecture.

    Raises:
        LpcamError: nothing is there, it is nothing that lpcam knows, or it cannot be read.
    """
    if path.is_dir():
        if arch is not None:
            raise LpcamError(f"--arch is for checkpoints, and {path} is a folder: leave it out")
        return _of_folder(path)
    if not path.is_file():
        raise LpcamError(f"{path} does not exist: give a workspace, one of its files, a checkpoint, seeds or a photo")
    if path.suffix == ".safetensors":
        return _of_safetensors(path, arch)
    if path.suffix == ".npy":
        return _of_npy(path)
    if path.suffix in _TEXTS:
        raise LpcamError(f"{path} is text: read it as it is, or give a workspace, a checkpoint, seeds or a photo")
    return of_checkpoint(path, arch)


def is_photo(path: Path) -> bool:
    """Return whether a path is a photo by its name."""
    return path.is_file() and path.suffix.lower() in PHOTO_SUFFIXES


def _of_folder(folder: Path) -> Findings:
    if (folder / MANIFEST).is_file() or shard_files(folder):
        return of_features(folder)
    if (folder / SEED_RECORD).is_file() or any(folder.glob("[!.]*.npy")):
        return of_seed_folder(folder)
    if any((folder / name).exists() for name in _OF_A_RUN):
        return of_workspace(Workspace(folder))
    raise LpcamError(
        f"{folder} holds nothing that lpcam writes: give the workspace of a run, its features/, or a folder of seeds"
    )


def _of_safetensors(path: Path, arch: str | None) -> Findings:
    try:
        with safe_open(path, framework="pt") as file:
            kinds, names = set(file.metadata() or {}), set(file.keys())
    except (SafetensorError, OSError) as error:
        raise LpcamError(f"{path} is half-written or damaged ({error}): make it again") from error
    if names == {"features", "cam"}:
        return of_shard(path)
    tell = next((tell for kind, tell in _KINDS.items() if kind in kinds), None)
    if tell is not None:
        return tell(path)
    return of_head(path) if len(names) == 1 else of_checkpoint(path, arch)


def _of_npy(path: Path) -> Findings:
    with path.open("rb") as file:
        holds_objects = b"'descr': '|O'" in file.read(256)
    return of_seed(path) if holds_objects else of_head(path)
