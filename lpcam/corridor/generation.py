"""Stage 3 in a workspace: ``lpcam generate``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from lpcam.backbones.classifier import Classifier
from lpcam.errors import LpcamError, unknown
from lpcam.forward import Forward, resolve_device
from lpcam.generate import Sink
from lpcam.generate import generate as generate_maps
from lpcam.methods import Method
from lpcam.methods.cam import Cam
from lpcam.methods.lpcam import Lpcam
from lpcam.prototypes import Prototypes
from lpcam.records import DataSplit, Execution, Photo, Progress, StageReport, silent
from lpcam.refiners import DEFAULT_REFINER, Refiner, get_refiner
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import Manifest, read_manifest
from lpcam.workspace import Workspace, claim_seeds

DEFAULT_METHOD = "lpcam"
_CUDA_WRITERS = 4  # a GPU makes maps faster than one thread writes them

_METHODS: dict[str, Callable[[Tensor, Callable[[], Prototypes]], Method]] = {
    "cam": lambda weights, _: Cam(weights),
    "lpcam": lambda weights, prototypes: Lpcam(prototypes().folded().to(weights.device)),
    "class-prototypes": lambda weights, prototypes: Lpcam(prototypes().folded(context=False).to(weights.device)),
}
METHODS = tuple(_METHODS)
"""``class-prototypes`` is LPCAM without the context prototypes, the paper's ablation."""


def generate(
    workspace: Workspace,
    *,
    methods: Sequence[str] = (DEFAULT_METHOD,),
    refiner: str = DEFAULT_REFINER,
    scales: Sequence[float] | None = None,
    out: Path | None = None,
    data: DataSource | None = None,
    split: str | None = None,
    execution: Execution = Execution(),
    overwrite: bool = False,
    progress: Progress = silent,
) -> StageReport:
    """Write the seeds of every photo in a refiner's format; seeds that are there are kept.

    Args:
        workspace: Of the run.
        methods: Names of `METHODS`; all come from one forward pass.
        refiner: Family whose format is written.
        scales: Of the views; those of the features when None.
        out: Folder of the seeds in place of the workspace's (a sub-folder a method if there are several).
        data: Other photos than the prototypes came from.
        split: Another split of the same data set.
        execution: Device, batch size, workers.
        overwrite: Replace seeds of another run.
        progress: Told as the work goes on.

    Raises:
        LpcamError: features or prototypes are missing or do not belong to the classifier, or an option cannot be
            used.
    """
    writer = get_refiner(refiner)
    manifest = read_manifest(workspace.features)
    source = data or DataSource.from_json(manifest.sources["data"])
    photos = source.with_split(split).open()
    _check_classes(photos, manifest.description.classes)
    net = _same_classifier(manifest, resolve_device(execution.device))
    forward = Forward(
        net,
        scales or manifest.description.scales,
        precision=execution.precision,
        compiled=execution.compiled,
    )
    used = _PrototypesOnce(workspace.prototypes, net, manifest.description.fingerprint)
    chosen = {name: _method(name, net.class_weights, used) for name in dict.fromkeys(methods)}
    folders = {name: _seed_folder(workspace, name, refiner, out, len(chosen)) for name in chosen}
    for name, folder in folders.items():
        made_by = _made_by(name, refiner, forward, photos, used)
        claim_seeds(folder, made_by, photos.split, photos.fingerprint, overwrite=overwrite)
    waiting = [photo for photo in photos.photos if not _has_seeds(photo, folders, writer)]
    report = generate_maps(
        waiting,
        forward,
        chosen,
        {name: _sink(writer, folder) for name, folder in folders.items()},
        execution=execution,
        writers=_CUDA_WRITERS if forward.device.type == "cuda" else 1,
        progress=progress,
    )
    workspace.record_failures("generate", report.failures)
    return replace(report, skipped=len(photos.photos) - len(waiting), notices=(*photos.notices, *report.notices))


class _PrototypesOnce:
    """Loads the prototype file when a method first asks for it, and checks that it belongs to the classifier."""

    def __init__(self, path: Path, net: Classifier, features: str) -> None:
        self._path, self._net, self._features = path, net, features
        self._loaded: Prototypes | None = None

    def __call__(self) -> Prototypes:
        if self._loaded is None:
            self._loaded = self._checked(Prototypes.load(self._path))
        return self._loaded

    def _checked(self, loaded: Prototypes) -> Prototypes:
        made, net = loaded.provenance, self._net
        if (made.weights_sha256, made.layer, made.stride) != (net.sha256, net.layer, net.stride):
            raise LpcamError(
                f"{self._path} was made with other weights, layer or stride than this classifier's: "
                "run 'lpcam cluster --overwrite', or use its own workspace"
            )
        if made.features != self._features:
            raise LpcamError(
                f"{self._path} was made from other features than the workspace's: run 'lpcam cluster --overwrite'"
            )
        return loaded


def _same_classifier(manifest: Manifest, device: str) -> Classifier:
    source = ClassifierSource.from_json(manifest.sources["classifier"])
    net = source.load(len(manifest.description.classes), device)
    if net.sha256 != manifest.description.weights_sha256:
        raise LpcamError(
            f"{source.weights} holds other weights than the features were extracted with: "
            "put the old file back, or run 'lpcam extract-features --overwrite'"
        )
    return net


def _check_classes(split: DataSplit, classes: tuple[str, ...]) -> None:
    if split.classes != classes:
        raise LpcamError(
            f"the classes of these photos ({', '.join(split.classes[:3])}, …) are not those of the features "
            f"({', '.join(classes[:3])}, …): give the list the features were extracted with by --classes"
        )


def _method(name: str, weights: Tensor, prototypes: Callable[[], Prototypes]) -> Method:
    if name not in _METHODS:
        raise unknown("method", name, _METHODS)
    return _METHODS[name](weights, prototypes)


def _seed_folder(workspace: Workspace, method: str, refiner: str, out: Path | None, methods: int) -> Path:
    if out is None:
        return workspace.seeds(method, refiner)
    return out if methods == 1 else out / method


def _made_by(
    method: str, refiner: str, forward: Forward, split: DataSplit, prototypes: _PrototypesOnce
) -> dict[str, Any]:
    net = forward.classifier
    return {
        "method": method,
        "refiner": refiner,
        "weights_sha256": net.sha256,
        "layer": net.layer,
        "stride": net.stride,
        "scales": list(forward.scales),
        "precision": forward.precision,
        "prototypes": None if method == "cam" else prototypes().sha256,
        "dataset": split.dataset,
        "classes": list(split.classes),
    }


def _has_seeds(photo: Photo, folders: dict[str, Path], refiner: Refiner) -> bool:
    return all(refiner.path(folder, photo.name).is_file() for folder in folders.values())


def _sink(refiner: Refiner, folder: Path) -> Sink:
    return lambda name, maps: refiner.write(folder, name, maps)
