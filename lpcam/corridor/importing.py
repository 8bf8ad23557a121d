"""From the published LPCAM code into a workspace: ``lpcam import-prototypes`` and ``lpcam import-features``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch.nn import functional as F

from lpcam.backbones.classifier import Classifier
from lpcam.corridor.extraction import claim_features
from lpcam.datasets import photo_size
from lpcam.datasets.labels import read_classes
from lpcam.dumps import FeatureDump, prototypes_from, read_class_vectors
from lpcam.errors import LpcamError, unknown
from lpcam.extract import DEFAULT_DTYPE, DEFAULT_SHARD_SIZE, describe, shards_of
from lpcam.files import write_json
from lpcam.forward import Forward, resolve_device
from lpcam.locks import file_lock, folder_lock, working_on
from lpcam.prototypes import Prototypes, Provenance
from lpcam.records import Photo, Progress, StageReport, silent
from lpcam.refiners import get_refiner
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import (
    DTYPES,
    Description,
    PhotoFeatures,
    shard_files,
    shard_is_complete,
    write_manifest,
    write_shard,
)
from lpcam.views import PUBLISHED_SCALES
from lpcam.workspace import Workspace

_CAM_FORMAT = "irn"  # of the CAMs the published code writes and splits by
_LOW_SCORE = 0.5


@dataclass(frozen=True)
class ImportReport:
    """What was imported.

    Attributes:
        classes: For every class name the number of ``class_prototypes`` and ``context_prototypes``.
        notices: What is doubtful, one line each.
    """

    classes: dict[str, dict[str, int]]
    notices: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {**asdict(self), "notices": list(self.notices)}


def import_prototypes(
    workspace: Workspace,
    classifier: ClassifierSource,
    class_prototypes: Path,
    context_prototypes: Path,
    *,
    classes: Path | None = None,
    data: DataSource | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> ImportReport:
    """Make the workspace's prototype file from ``class_ceneters.pt`` and ``class_context.pt``.

    ``lpcam generate`` then needs no features. The files do not say which classifier they belong to: their channels and
    the scores of their class prototypes are looked at, the rest is the user's word.

    Args:
        workspace: Of the run; it must have no features.
        classifier: The pretrained classifier the prototypes were made with.
        class_prototypes: See `lpcam.dumps.read_class_vectors`.
        context_prototypes: The same.
        classes: A file with the names of the classes, where ``data`` does not say them.
        data: Remembered as the photos that seeds are made of; others can be named later.
        device: Where the classifier is loaded.
        overwrite: Replace other prototypes.

    Raises:
        LpcamError: a file cannot be used, or the workspace has features or other prototypes.
    """
    if shard_files(workspace.features):
        raise LpcamError(
            f"{workspace.root} has features, of which 'lpcam cluster' makes the prototypes: choose another --workspace"
        )
    names = _class_names(classes, data)
    net = classifier.load(len(names), resolve_device(device))
    made_by = Provenance(names, net.sha256, net.arch, net.layer, net.stride, dataset="imported")
    prototypes = prototypes_from(
        read_class_vectors(class_prototypes, names, net.channels),
        read_class_vectors(context_prototypes, names, net.channels),
        net.class_weights,
        made_by,
    )
    with working_on(file_lock(workspace.prototypes), stage="lpcam import-prototypes"):
        if workspace.prototypes.exists() and not overwrite:
            _require_same(workspace.prototypes, prototypes)
        prototypes.save(workspace.prototypes)
        sources = {"classifier": classifier.as_json(), "data": data.as_json() if data else None}
        write_json(workspace.imported, sources, sealed=True)
    return _report(prototypes)


def import_features(
    workspace: Workspace,
    dump: Path,
    cams: Path,
    data: DataSource,
    classifier: ClassifierSource,
    *,
    dtype: str = DEFAULT_DTYPE,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = silent,
) -> StageReport:
    """Make the workspace's feature store from ``tensor_feature.pt``, ``tensor_label.pt`` and ``name2id.npy``.

    Args:
        workspace: Of the run.
        dump: The folder of the three files; see `lpcam.dumps`.
        cams: The folder of the CAMs that split the features, ``<name>.npy`` in IRN's format (``cam_mask``).
        data: The photos the dump was made from, with its labels; photos of the dump that are not among them are passed
            over.
        classifier: The classifier the dump was made with.
        dtype: Of the stored features.
        device: Where the classifier is loaded.
        overwrite: Replace other features.
        progress: Told as the work goes on.

    Raises:
        LpcamError: dump, CAMs, photos and classifier do not fit each other, or the workspace holds other features.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    started = time.perf_counter()
    split = data.open()
    net = classifier.load(len(split.classes), resolve_device(device))
    opened = FeatureDump.open(dump)
    description = replace(describe(split, Forward(net, PUBLISHED_SCALES), dtype), origin="imported")
    with working_on(folder_lock(workspace.features), stage="lpcam import-features"):
        claim_features(workspace, description, overwrite)
        shards = shards_of(split.photos, DEFAULT_SHARD_SIZE)
        done = 0
        for index, photos in shards:
            names = [photo.name for photo in photos]
            if not shard_is_complete(workspace.features, index, description, names):
                features = [_photo_features(photo, opened, cams, net, description) for photo in photos]
                write_shard(workspace.features, index, features, (), description, names)
                done += len(photos)
            progress("import-features", done, len(split.photos))
        sources = {"data": data.as_json(), "classifier": classifier.as_json(), "dump": str(dump.resolve())}
        write_manifest(workspace.features, description, len(shards), net.class_weights, sources)
    seconds = time.perf_counter() - started
    return StageReport(done, len(split.photos) - done, (), seconds, 0.0, split.notices)


def _class_names(classes: Path | None, data: DataSource | None) -> tuple[str, ...]:
    if data is not None:
        return data.open().classes
    if classes is None:
        raise LpcamError("the dump does not name its classes: give --classes FILE, or --dataset and --root")
    return read_classes(classes)


def _require_same(path: Path, prototypes: Prototypes) -> None:
    if Prototypes.load(path).sha256 != prototypes.sha256:
        raise LpcamError(
            f"{path} holds other prototypes: add --overwrite to replace them, or choose another --workspace"
        )


def _report(prototypes: Prototypes) -> ImportReport:
    counts = {
        name: {"class_prototypes": len(entry.class_prototypes), "context_prototypes": len(entry.context_prototypes)}
        for name, entry in zip(prototypes.provenance.classes, prototypes.centres, strict=True)
    }
    empty = [name for name, found in counts.items() if not found["class_prototypes"]]
    notices = [f"{name}: no class prototypes, so its maps will be zero" for name in empty]
    scores = [float(score) for entry in prototypes.centres for score in entry.scores[entry.is_object]]
    low = sum(score < _LOW_SCORE for score in scores)
    if 2 * low > len(scores):
        notices.append(
            f"{low} of {len(scores)} class prototypes score below {_LOW_SCORE} under this classifier: were they made "
            "with these weights, and are the classes in this order?"
        )
    return ImportReport(counts, tuple(notices))


def _photo_features(
    photo: Photo, dump: FeatureDump, cams: Path, net: Classifier, description: Description
) -> PhotoFeatures:
    features, labels = dump.photo(photo.name, len(description.classes), net.channels)
    _require_labels(photo, labels, f"{dump.folder}", description.classes)
    maps = get_refiner(_CAM_FORMAT).read(cams, photo.name)
    _require_labels(photo, maps.labels, f"{cams}", description.classes)
    size = photo_size(photo.path)
    if maps.labels and tuple(maps.high_res.shape[1:]) != size:
        raise LpcamError(f"the CAM of {photo.name} in {cams} is not of the photo's size {size}: give its own --cams")
    grid = (features.shape[1], features.shape[2])
    cam = (
        F.interpolate(maps.high_res[None].float(), grid, mode="nearest")[0] if labels else features.new_zeros(0, *grid)
    )
    stored = features.to(DTYPES[description.dtype])
    if not bool(stored.isfinite().all()):
        raise LpcamError(f"the features of {photo.name} are not finite in {description.dtype}: try --dtype float32")
    return PhotoFeatures(photo.name, photo.labels, size, stored, cam.float())


def _require_labels(photo: Photo, labels: Sequence[int], source: str, classes: Sequence[str]) -> None:
    if tuple(labels) != photo.labels:
        raise LpcamError(
            f"{source} has other labels of {photo.name} ({_named(labels, classes)}) than the data set "
            f"({_named(photo.labels, classes)}): give the labels it was made with by --labels"
        )


def _named(labels: Sequence[int], classes: Sequence[str]) -> str:
    return ", ".join(classes[label] if label < len(classes) else str(label) for label in labels) or "none"
