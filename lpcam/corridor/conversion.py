"""Seeds of one family turned into another's: ``lpcam convert``."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lpcam.checksums import journal, keep_sound, read_sums, require_sound, settle
from lpcam.datasets import photo_size
from lpcam.errors import LpcamError
from lpcam.files import process_token
from lpcam.locks import folder_lock, working_on
from lpcam.records import ActivationMaps, Failure, Photo, Progress, StageReport, silent
from lpcam.refiners import Refiner, get_reader
from lpcam.refiners.next_step import Origin
from lpcam.refiners.parts import PartOptions
from lpcam.refiners.writing import Writing, write_next_step
from lpcam.sources import DataSource
from lpcam.views import strided_size
from lpcam.workspace import claim_seeds, seed_record

_SPLIT = "converted"


def convert(
    source: Path,
    target: Path,
    *,
    from_refiner: str,
    to_refiner: str,
    parts: PartOptions = PartOptions(),
    data: DataSource | None = None,
    split: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> StageReport:
    """Write the seeds of a folder in another family's format; those that are there are kept.

    What a family does not keep is not invented: maps of ``high_res`` only give ``strided`` ones by resizing, float16
    stays as coarse as it is, and where a family keeps no size of a photo without classes the data set must say it.

    Args:
        source: Folder of the seeds.
        target: Folder of the new ones.
        from_refiner: Family they are of.
        to_refiner: Family they shall be of.
        parts: What the new family reads beside its seeds; it is made from the photos, so ``data`` is needed.
        data: Where the photos are. Its names are converted then, else all seeds of the folder.
        split: Another split of that data set.
        overwrite: Replace other seeds in ``target``.
        progress: Told after every photo.

    Raises:
        LpcamError: a family is unknown or cannot be read, there are no seeds, photos are needed and not named, or
            ``target`` holds other seeds.
    """
    started = time.perf_counter()
    reader = get_reader(from_refiner)
    origin = _origin(source, data)
    writing = Writing.of(to_refiner, parts, origin)
    if source.resolve() == target.resolve():
        raise LpcamError(f"seeds cannot be converted in their own folder {source}: choose another --to")
    photos = _photos(source, reader, data.with_split(split) if data else None, writing)
    writing.check(tuple(photo for photo in photos.values() if photo))
    names = tuple(photos)
    made_by, suffix = _made_by(source, from_refiner, writing), writing.refiner.suffix
    with working_on(folder_lock(target), stage="lpcam convert"):
        claim_seeds(target, made_by, _SPLIT, _fingerprint(source), suffix=suffix, overwrite=overwrite)
        writing.sweep(target)
        note, sums = journal(target, process_token()), read_sums(source)
        next_steps = write_next_step(writing.refiner, target, origin, note)
        files = [path for name in names for path in writing.files(target, name)]
        keep_sound(target, files, lambda done, total: progress("check seeds", done, total))
        waiting = [name for name in names if not writing.is_written(target, name)]
        failures = []
        for index, name in enumerate(waiting):
            try:
                require_sound(reader.path(source, name), source, sums, "make it again by 'lpcam generate'")
                maps = _sized(reader.read(source, name), reader, writing, photos[name])
            except LpcamError as error:
                failures.append(Failure(name, str(error)))
            else:
                writing.write(target, photos[name] or Photo(name, Path(), maps.labels), maps, note)
            progress("convert", index + 1, len(waiting))
        settle(target, None)
    done = len(waiting) - len(failures)
    seconds = time.perf_counter() - started
    return StageReport(done, len(names) - len(waiting), tuple(failures), seconds, 0.0, next_steps=next_steps)


def _origin(source: Path, data: DataSource | None) -> Origin:
    made_by = seed_record(source).get("made_by", {})
    known = {name: made_by[name] for name in ("method", "dataset") if name in made_by}
    walked = "walk" in made_by.get("propagation", {})
    return Origin(**{**known, **({"dataset": data.dataset} if data else {})}, walked=walked)


def _photos(source: Path, reader: Refiner, data: DataSource | None, writing: Writing) -> Mapping[str, Photo | None]:
    """Return what is to be converted: names, and the photos where they are known."""
    if writing.parts and data is None:
        raise LpcamError("--crf and --saliency need the photos: name their data set by --dataset and --root")
    if not source.is_dir():
        raise LpcamError(f"{source} does not exist: give the folder of the seeds by --from")
    found: Mapping[str, Photo | None]
    if data is None:
        found = dict.fromkeys(sorted(path.stem for path in source.glob(f"[!.]*{reader.suffix}")))
    else:
        photos = data.open().photos
        found = {photo.name: photo for photo in photos if reader.path(source, photo.name).is_file()}
    if not found:
        raise LpcamError(f"{source} holds no seeds of these photos: check --from, --from-refiner and --split")
    return found


def _sized(maps: ActivationMaps, reader: Refiner, writing: Writing, photo: Photo | None) -> ActivationMaps:
    """Give the maps of a photo without classes the size of the photo, where their file did not keep it."""
    needed = writing.refiner.keeps_size or writing.parts
    if maps.labels or 0 not in maps.high_res.shape[1:] or not needed:
        return maps
    if photo is None:
        raise LpcamError(
            f"{reader.name} keeps no size of a photo without classes: name its data set by --dataset and --root"
        )
    size = photo_size(photo.path)
    return ActivationMaps((), torch.zeros(0, *strided_size(size)), torch.zeros(0, *size))


def _made_by(source: Path, from_refiner: str, writing: Writing) -> dict[str, Any]:
    made_by = {
        **seed_record(source).get("made_by", {}),
        "refiner": writing.refiner.name,
        "converted_from": {"refiner": from_refiner, "folder": str(source.resolve())},
    }
    made_by.pop("parts", None)
    return {**made_by, **({"parts": writing.settings} if writing.parts else {})}


def _fingerprint(source: Path) -> str:
    return hashlib.sha256(json.dumps(str(source.resolve())).encode()).hexdigest()
