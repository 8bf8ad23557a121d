"""Class weights over a frozen backbone: ``lpcam train-classifier --freeze-backbone``.

A photo is its averaged local features x̄ = mean_{h,w} f(x); the class weights are a multi-label logistic regression on
them, regularised by their squared length:

    W = argmin  mean_{n,k} log(1 + exp(−y_nk · w_k · x̄_n)) + λ/(2K) · s² · Σ_k ‖w_k‖²,   y = ±1,   s² = mean_n ‖x̄_n‖²

s makes λ mean the same for every backbone, whatever the scale of its features. There is no bias, as CAM and LPCAM have
none: what speaks against a class must be a feature. The problem is convex and solved by L-BFGS in float64, so
nothing is random but the folds that choose λ.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from lpcam.backbones import Trunk, load_trunk
from lpcam.datasets import read_photo
from lpcam.errors import LpcamError
from lpcam.files import write_atomically
from lpcam.forward import resolve_device
from lpcam.memory import reused_memory
from lpcam.prototypes import derived_seed
from lpcam.records import DataSplit, Photo, Progress, silent
from lpcam.sources import DataSource
from lpcam.store import FeatureStore
from lpcam.training.checkpoint import save_classifier
from lpcam.training.crops import read_ahead
from lpcam.training.targets import absent_classes, label_matrix, mean_average_precision, require_labels
from lpcam.views import view, view_size
from lpcam.workspace import Workspace

_FOLDS = 3  # purpose of a derived seed
_ITERATIONS = 300
_ROUGH_ITERATIONS = 60  # of a fit whose ranking of photos is all that is asked


@dataclass(frozen=True)
class HeadRecipe:
    """How class weights are fitted.

    Attributes:
        l2: λ; None chooses, from ``candidates``, the one of highest mAP in a cross-validation: the scores of all
            photos, each by the weights fitted without its fold.
        candidates: Of the cross-validation; of equal ones the larger λ is taken.
        folds: Of the cross-validation.
        most_photos: Of the cross-validation; of more, as many are drawn.
    """

    l2: float | None = None
    candidates: tuple[float, ...] = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
    folds: int = 5
    most_photos: int = 5000

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            LpcamError: λ is not above 0.
        """
        if not all(value > 0 for value in (*self.candidates, 1.0 if self.l2 is None else self.l2)):
            raise LpcamError(f"l2 is {self.l2}: choose a number above 0, or leave it out to have it chosen")


@dataclass(frozen=True)
class HeadReport:
    """What the fit of class weights did.

    Attributes:
        out: The file with the class weights.
        classes: Class names by index.
        images: Photos that were learnt from.
        channels: C.
        l2: λ that was used.
        cross_validated: mAP in the cross-validation by λ, in 0..1; empty where λ was given.
        map: mAP of the validation split, else that of the cross-validation; None where there was neither.
        seconds: Wall time.
        pooling_seconds: Part of it spent on averaging features.
        notices: What a user should know, one line each.
    """

    out: Path
    classes: tuple[str, ...]
    images: int
    channels: int
    l2: float
    cross_validated: tuple[tuple[float, float], ...]
    map: float | None
    seconds: float
    pooling_seconds: float
    notices: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        speed = self.images / self.seconds if self.seconds > 0 else 0.0
        return {**asdict(self), "out": str(self.out), "images_per_second": speed}


@dataclass(frozen=True)
class Pooled:
    """Averaged features of photos, and their labels.

    Attributes:
        features: float32 [N, C].
        targets: float32 [N, K], 0 or 1.
        classes: K names.
        split: Name of the split.
        notices: Of the data set.
    """

    features: Tensor
    targets: Tensor
    classes: tuple[str, ...]
    split: str
    notices: tuple[str, ...] = ()


def train_head(
    source: DataSource | Workspace,
    out: Path,
    *,
    arch: str | None = None,
    weights: str | Path = "imagenet",
    stride: int | None = None,
    recipe: HeadRecipe = HeadRecipe(),
    val_split: str | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress = silent,
) -> HeadReport:
    """Fit class weights to the features of a workspace, or of photos that are sent through a backbone once.

    Args:
        source: A workspace with features, or photos and image-level labels.
        out: ``.safetensors`` (one tensor, ``weight`` [K, C]) or ``.npy`` for the class weights alone, which
            ``--head`` reads; with photos also ``.pth`` for a whole classifier.
        arch: The backbone of photos.
        weights: Its checkpoint, which needs no head, or ``imagenet``.
        stride: Its output stride, by default the architecture's.
        recipe: Hyper-parameters.
        val_split: A split of the same data set whose mAP is measured; photos only.
        seed: Of the folds.
        device: Of the backbone: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        workers: Threads that read photos ahead.
        overwrite: Replace a file that is there.
        progress: Told of every photo that is averaged, stage ``pool``, and every fit, stage ``fit``.

    Raises:
        LpcamError: there are no labels or no features, a photo cannot be read, a file is there, or an option
            cannot be used.
    """
    started = time.perf_counter()
    _require_place(out, overwrite, whole=isinstance(source, DataSource))
    if isinstance(source, Workspace):
        trunk, pooled, val = None, pooled_store(source, progress), None
    else:
        trunk = load_trunk(_named(arch), weights, stride=stride, device=resolve_device(device))
        if out.suffix in (".pth", ".pt"):
            trunk.require_matrix_head()
        pooled = pooled_photos(source.open(), trunk, workers, progress)
        val = pooled_photos(source.with_split(val_split).open(), trunk, workers, progress) if val_split else None
    pooling_seconds = time.perf_counter() - started
    require_labels(pooled.targets, pooled.split)
    _require_same_classes(pooled, val)
    scores = {} if recipe.l2 else cross_validated(pooled.features, pooled.targets, recipe, seed=seed, progress=progress)
    l2 = recipe.l2 or max(scores, key=lambda value: (scores[value], value))
    matrix = fit(pooled.features, pooled.targets, l2)
    _save(out, matrix, trunk)
    found = mean_average_precision(val.features @ matrix.T, val.targets) if val else scores.get(l2)
    return HeadReport(
        out,
        pooled.classes,
        len(pooled.features),
        matrix.shape[1],
        l2,
        tuple(scores.items()),
        found,
        time.perf_counter() - started,
        pooling_seconds,
        (*pooled.notices, *absent_classes(pooled.targets, pooled.classes)),
    )


def pooled_store(workspace: Workspace, progress: Progress = silent) -> Pooled:
    """Return the averaged features of every photo of a workspace's feature store."""
    store = FeatureStore(workspace.features)
    description = store.manifest.description
    features = torch.zeros(len(store.photos), description.channels)
    targets = torch.zeros(len(store.photos), len(description.classes))
    for index, (photo, rows) in enumerate(zip(store.photos, store.rows(store.photos), strict=True)):
        features[index] = rows.float().mean(dim=0)
        targets[index, list(photo.labels)] = 1.0
        progress("pool", index + 1, len(store.photos))
    return Pooled(features, targets, description.classes, description.split)


@torch.inference_mode()
def pooled_photos(split: DataSplit, trunk: Trunk, workers: int = 2, progress: Progress = silent) -> Pooled:
    """Return the averaged features of every photo at its own size."""
    trunk.eval()
    device = next(trunk.parameters()).device
    features = torch.zeros(len(split.photos), trunk.channels)
    with reused_memory(device):
        for index, image in enumerate(_views(split.photos, trunk, workers)):
            features[index] = trunk(image[None].to(device))[0].mean(dim=(1, 2)).cpu()
            progress("pool", index + 1, len(split.photos))
    return Pooled(features, label_matrix(split), split.classes, split.split, split.notices)


def fit(
    features: Tensor, targets: Tensor, l2: float, start: Tensor | None = None, iterations: int = _ITERATIONS
) -> Tensor:
    """Return the class weights of the formula above.

    Args:
        features: float [N, C].
        targets: float [N, K], 0 or 1.
        l2: λ > 0.
        start: float [K, C] to begin from; changes how long it takes, not what comes out beyond rounding.
        iterations: Of L-BFGS, at most.

    Returns:
        float32 [K, C].
    """
    inputs, labels = features.double(), targets.double()
    scale = inputs.square().sum(dim=1).mean().sqrt().clamp_min(torch.finfo(torch.float64).tiny)
    inputs = inputs / scale
    first = torch.zeros(labels.shape[1], inputs.shape[1]) if start is None else start
    matrix = (first.double() * scale).requires_grad_()
    solver = torch.optim.LBFGS(
        [matrix], max_iter=iterations, tolerance_grad=1e-7, history_size=20, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        solver.zero_grad()
        penalty = matrix.square().sum() * (l2 / 2 / labels.shape[1])
        loss = F.multilabel_soft_margin_loss(inputs @ matrix.T, labels) + penalty
        torch.autograd.backward(loss)
        return loss.detach()

    with torch.enable_grad():
        solver.step(objective)  # type: ignore[no-untyped-call]
    return (matrix.detach() / scale).float()


def cross_validated(
    features: Tensor, targets: Tensor, recipe: HeadRecipe, *, seed: int = 0, progress: Progress = silent
) -> dict[float, float]:
    """Return the mAP of every candidate λ over all photos, each scored by the weights fitted without its fold.

    Args:
        features: float [N, C].
        targets: float [N, K], 0 or 1, some of them 1.
        recipe: Candidates and folds.
        seed: Of the folds.
        progress: Told of every fold, stage ``fit``.

    Raises:
        LpcamError: there are fewer photos than folds.
    """
    if len(features) < recipe.folds:
        raise LpcamError(f"{len(features)} photos are too few to choose how much to regularise: give --l2, such as .01")
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(derived_seed(seed, 0, _FOLDS)))
    rows = order[: recipe.most_photos]
    features, targets = features[rows], targets[rows]
    candidates = sorted(recipe.candidates, reverse=True)
    logits = torch.zeros(len(candidates), *targets.shape)
    for fold in range(recipe.folds):
        progress("fit", fold, recipe.folds)
        held_out = torch.arange(len(rows)) % recipe.folds == fold
        matrix = None
        for place, l2 in enumerate(candidates):  # from stiff to loose, each begins where the one before ended
            matrix = fit(features[~held_out], targets[~held_out], l2, matrix, _ROUGH_ITERATIONS)
            logits[place, held_out] = features[held_out] @ matrix.T
    progress("fit", recipe.folds, recipe.folds)
    return {l2: mean_average_precision(scores, targets) or 0.0 for l2, scores in zip(candidates, logits, strict=True)}


def _require_place(out: Path, overwrite: bool, *, whole: bool) -> None:
    kinds = (".safetensors", ".npy", ".pth", ".pt") if whole else (".safetensors", ".npy")
    if out.suffix not in kinds:
        reason = "a workspace holds no backbone" if out.suffix in (".pth", ".pt") else f"{out} is no name of a head"
        raise LpcamError(f"{reason}: let --out end in one of {', '.join(kinds)}")
    if out.exists() and not overwrite:
        raise LpcamError(f"{out} is there already: add --overwrite to replace it, or choose another --out")


def _named(arch: str | None) -> str:
    if arch is None:
        raise LpcamError("photos need a backbone: give --arch and --weights, or a --workspace with features")
    return arch


def _require_same_classes(pooled: Pooled, val: Pooled | None) -> None:
    if val is not None and val.classes != pooled.classes:
        raise LpcamError(
            f"splits {pooled.split} and {val.split} have different classes: name them for both with --classes FILE"
        )


def _views(photos: tuple[Photo, ...], trunk: Trunk, workers: int) -> Iterator[Tensor]:
    def load(photo: Photo) -> Tensor:
        pixels = read_photo(photo.path)
        size = view_size((pixels.shape[0], pixels.shape[1]), 1.0, trunk.minimum_side)
        return view(pixels, size, trunk.mean, trunk.std)

    return read_ahead(load, photos, workers, 2 * workers)


def _save(out: Path, matrix: Tensor, trunk: Trunk | None) -> None:
    if out.suffix == ".safetensors":
        write_atomically(out, lambda partial: save_file({"weight": matrix}, partial))
    elif out.suffix == ".npy":
        write_atomically(out, lambda partial: _write_npy(partial, matrix))
    elif trunk is not None:
        save_classifier(out, trunk.checkpoint(matrix))


def _write_npy(path: Path, matrix: Tensor) -> None:
    with path.open("wb") as file:
        np.save(file, matrix.numpy())
