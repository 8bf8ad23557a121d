"""Training a classifier on image-level labels, the only supervision of the whole corridor: ``lpcam train-classifier``.

The recipe is IRN's (Ahn & Kwak, CVPR 2019), which the LPCAM paper keeps: multi-label soft margin on global average
pooling, SGD whose rate falls as a polynomial, ten times the rate for the new head, crops of 512 px with zeros around a
photo that is smaller, five epochs.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpcam.backbones import Trunk, load_trunk
from lpcam.backbones.checkpoints import fingerprint
from lpcam.datasets import read_photo
from lpcam.errors import LpcamError
from lpcam.files import read_json, sweep, write_json
from lpcam.forward import resolve_device, reused_memory
from lpcam.prototypes import derived_seed
from lpcam.records import DataSplit, Photo, Progress, silent
from lpcam.sources import DataSource
from lpcam.training.checkpoint import Progressed, save_classifier
from lpcam.training.crops import centred, random_crop, read_ahead
from lpcam.training.targets import absent_classes, label_matrix, mean_average_precision, require_labels

_ORDER, _CROP, _STEP = 0, 1, 2  # purposes of derived seeds
_SECONDS_BETWEEN_SAVES = 600.0


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.

    Attributes:
        epochs: Passes over the photos.
        batch_size: Photos a step; the rest of an epoch that does not fill a batch is left out.
        lr: Learning rate of the first step; that of step t of T is lr · (1 − t/T)^power.
        head_lr_factor: How much larger it is for the new head.
        power: Of the polynomial.
        momentum: Of SGD.
        weight_decay: Of all parameters.
        crop: Side of the square that is seen of a photo, px.
        resize: Least and most length of a photo's longer side, as a share of the crop: 320 to 640 px for 512.
    """

    epochs: int = 5
    batch_size: int = 16
    lr: float = 0.1
    head_lr_factor: float = 10.0
    power: float = 0.9
    momentum: float = 0.0
    weight_decay: float = 1e-4
    crop: int = 512
    resize: tuple[float, float] = (0.625, 1.25)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            LpcamError: one is out of range.
        """
        for name, value in (("epochs", self.epochs), ("batch size", self.batch_size), ("crop", self.crop)):
            if value < 1:
                raise LpcamError(f"{name} is {value}: choose 1 or more")
        for name, rate in (("lr", self.lr), ("head-lr-factor", self.head_lr_factor)):
            if not 0 < rate < math.inf:
                raise LpcamError(f"{name} is {rate:g}: choose a number above 0")
        for name, share in (("weight-decay", self.weight_decay), ("momentum", self.momentum)):
            if not 0 <= share < 1:
                raise LpcamError(f"{name} is {share:g}: choose a number in [0, 1)")
        if not 0 < self.resize[0] <= self.resize[1]:
            raise LpcamError(f"resize is {self.resize}: choose two shares of the crop above 0, the smaller one first")


@dataclass(frozen=True)
class TrainingReport:
    """What a training did.

    Attributes:
        out: The classifier.
        arch: Its architecture.
        classes: Class names by index.
        loss: Mean loss of every epoch, of runs before this one too.
        map: Validation mAP after every epoch, in 0..1; None where it was not measured.
        steps: Steps of the whole training.
        first_step: Step that this call began with; above 0 where it went on.
        images: Photos seen by this call, a photo once an epoch.
        seconds: Wall time of this call.
        notices: What a user should know, one line each.
    """

    out: Path
    arch: str
    classes: tuple[str, ...]
    loss: tuple[float, ...]
    map: tuple[float | None, ...]
    steps: int
    first_step: int
    images: int
    seconds: float
    notices: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints; ``map`` is the last, ``map_per_epoch`` all of them."""
        speed = self.images / self.seconds if self.images else 0.0
        value = {**asdict(self), "out": str(self.out), "images_per_second": speed}
        return {**value, "map": self.map[-1], "map_per_epoch": list(self.map)}


def train_classifier(
    data: DataSource,
    arch: str,
    out: Path,
    *,
    weights: str | Path | None = "imagenet",
    stride: int | None = None,
    recipe: Recipe = Recipe(),
    val_split: str | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress = silent,
) -> TrainingReport:
    """Train a classifier of a data set's classes, from pretrained weights or from scratch.

    Logit of class k: w_k · mean_{h,w} f(x), without a bias, as CAM and LPCAM use the class weights. Started from
    pretrained weights, batch norm keeps their running statistics (its scales and biases learn); from scratch it
    learns its own. Photos without any label are seen too. No mask is read.

    After every epoch, and every ten minutes within one, the state of the training is written beside ``out``; the same
    call goes on from it, to the same bytes as if it had not been interrupted (same machine, same number of threads,
    on a CPU; ``workers`` change nothing). Beside a classifier that is finished, ``OUT.json`` says how it was made.

    Args:
        data: Photos and image-level labels.
        arch: Any architecture of `lpcam.backbones`.
        out: The checkpoint to be written, ``.pth`` or ``.pt``; `lpcam.backbones.load_classifier` reads it.
        weights: A checkpoint file with or without a head, ``imagenet``, or None to train from scratch.
        stride: Output stride in training; by default the architecture's, which is that of later stages.
        recipe: Hyper-parameters.
        val_split: A split of the same data set whose mAP is measured after every epoch.
        seed: Of the head's (and, from scratch, all) first weights, the order of the photos, their crops, dropout.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        workers: Threads that read photos ahead.
        overwrite: Begin anew, whatever is there.
        progress: Told after every step, stages ``train`` and ``validate``.

    Raises:
        LpcamError: there are no labels, fewer photos than a batch, a photo that cannot be read, a file of another
            run, an option that cannot be used, or a loss that is not finite.
    """
    started = time.perf_counter()
    if out.suffix not in (".pth", ".pt"):
        raise LpcamError(f"{out} is no name of a classifier: let --out end in .pth")
    if workers < 0:
        raise LpcamError(f"workers is {workers}: choose 0 or more")
    device = resolve_device(device)
    split, val = data.open(), None if val_split is None else data.with_split(val_split).open()
    trunk = load_trunk(arch, weights, stride=stride, seed=seed, device=device)
    trunk.require_matrix_head()
    run = _Run.of(split, val, trunk, recipe, seed, out)
    run.claim(overwrite)
    if run.is_finished():
        return run.report(run.finished(), run.steps, time.perf_counter() - started)
    model = _PooledClassifier(trunk, len(split.classes), seed, fix_norms=weights is not None).to(device)
    training = _Training(run, model.to(memory_format=torch.channels_last), workers, progress)
    first_step = training.restore()
    training.steps_to_the_end()
    run.finish(model.state(), training.losses, training.scores)
    return run.report((training.losses, training.scores), first_step, time.perf_counter() - started)


@dataclass(frozen=True)
class _Run:
    """What is trained, on what, and the files of it.

    Attributes:
        split: Photos to learn from.
        val: Photos to measure.
        trunk: With its first weights.
        recipe: Hyper-parameters.
        seed: Of everything random.
        out: The classifier.
        fingerprint: Of all of these.
    """

    split: DataSplit
    val: DataSplit | None
    trunk: Trunk
    recipe: Recipe
    seed: int
    out: Path
    fingerprint: str

    @classmethod
    def of(cls, split: DataSplit, val: DataSplit | None, trunk: Trunk, recipe: Recipe, seed: int, out: Path) -> _Run:
        require_labels(label_matrix(split), split.split)
        if len(split.photos) < recipe.batch_size:
            raise LpcamError(
                f"split {split.split} has {len(split.photos)} photos, fewer than a batch of {recipe.batch_size}: "
                "add photos or give a smaller --batch-size"
            )
        if val is not None and val.classes != split.classes:
            raise LpcamError(
                f"splits {split.split} and {val.split} have different classes: name them for both with --classes FILE"
            )
        first = fingerprint({name: tensor.float() for name, tensor in trunk.state_dict().items()})
        photos = [part.fingerprint if part else None for part in (split, val)]
        payload = [photos, trunk.arch, trunk.stride, first, asdict(recipe), seed]
        digest = hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()
        return cls(split, val, trunk, recipe, seed, out, digest)

    @property
    def unfinished(self) -> Path:
        """The state of the training while it lasts."""
        return self.out.with_name(f"{self.out.name}.unfinished")

    @property
    def description(self) -> Path:
        """How the classifier was made; written last."""
        return self.out.with_name(f"{self.out.name}.json")

    @property
    def steps_per_epoch(self) -> int:
        """Full batches."""
        return len(self.split.photos) // self.recipe.batch_size

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.steps_per_epoch * self.recipe.epochs

    def claim(self, overwrite: bool) -> None:
        """Remove what is there where that is wanted.

        Raises:
            LpcamError: it is of another run, and not wanted.
        """
        sweep(self.out.parent)
        if overwrite:
            for path in (self.out, self.unfinished, self.description):
                path.unlink(missing_ok=True)
        if self.is_finished() or (self.unfinished.exists() and self._is_mine()):
            return
        others = [path for path in (self.out, self.unfinished) if path.exists()]
        if others:
            raise LpcamError(
                f"{others[0]} belongs to a training with other photos, options or first weights: "
                "add --overwrite to replace it, or choose another --out"
            )

    def _is_mine(self) -> bool:
        try:
            return Progressed.load(self.unfinished).fingerprint == self.fingerprint
        except LpcamError:
            return False

    def is_finished(self) -> bool:
        """Return whether the very classifier is there."""
        if not (self.out.is_file() and self.description.is_file()):
            return False
        return self._described().get("fingerprint") == self.fingerprint

    def finished(self) -> tuple[Tensor, Tensor]:
        """Return losses and mAP of the training that made the classifier."""
        described = self._described()
        scores = [math.nan if score is None else score for score in described["map_per_epoch"]]
        return torch.tensor(described["losses"], dtype=torch.float64), torch.tensor(scores, dtype=torch.float64)

    def _described(self) -> dict[str, Any]:
        return read_json(self.description, repair="add --overwrite to train from the start")

    def finish(self, state: dict[str, Tensor], losses: Tensor, scores: Tensor) -> None:
        """Write the classifier, then how it was made; the state is not needed any more."""
        save_classifier(self.out, state)
        description = {
            "fingerprint": self.fingerprint,
            "arch": self.trunk.arch,
            "stride": self.trunk.stride,
            "classes": self.split.classes,
            "photos": len(self.split.photos),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "losses": losses.tolist(),
            "map_per_epoch": _nones(scores),
        }
        write_json(self.description, description)
        self.unfinished.unlink(missing_ok=True)

    def report(self, found: tuple[Tensor, Tensor], first_step: int, seconds: float) -> TrainingReport:
        """Return what a call did that began with ``first_step``."""
        losses, scores = found
        notices = (*self.split.notices, *absent_classes(label_matrix(self.split), self.split.classes))
        return TrainingReport(
            self.out,
            self.trunk.arch,
            self.split.classes,
            tuple(losses.view(self.recipe.epochs, -1).mean(dim=1).tolist()),
            _nones(scores),
            self.steps,
            first_step,
            (self.steps - first_step) * self.recipe.batch_size,
            seconds,
            notices,
        )


def _nones(scores: Tensor) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(score) else score for score in scores.tolist())


class _PooledClassifier(nn.Module):
    """The network, global average pooling and a new linear head without bias."""

    def __init__(self, trunk: Trunk, num_classes: int, seed: int, *, fix_norms: bool) -> None:
        super().__init__()
        self.trunk = trunk
        self.fix_norms = fix_norms
        with torch.random.fork_rng(devices=[]):  # the initialiser draws from the global generator
            torch.manual_seed(seed)
            self.head = nn.Linear(trunk.channels, num_classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, K]."""
        logits: Tensor = self.head(self.trunk(images).mean(dim=(2, 3)))
        return logits

    def train(self, mode: bool = True) -> _PooledClassifier:
        """Set the mode of every module; fixed batch norm stays in evaluation."""
        super().train(mode)
        for module in self.trunk.modules() if self.fix_norms else ():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint of the architecture holds."""
        return self.trunk.checkpoint(self.head.weight)


class _Training:
    """The loop over the steps.

    Attributes:
        losses: Of every step so far.
        scores: mAP of every epoch so far.
    """

    def __init__(self, run: _Run, model: _PooledClassifier, workers: int, progress: Progress) -> None:
        self._run = run
        self._model = model
        self._workers = workers
        self._progress = progress
        self._targets = label_matrix(run.split)
        self._optimiser = _optimiser(model, run.recipe)
        self._device = model.head.weight.device
        self._saved = time.monotonic()
        self.losses = torch.zeros(0, dtype=torch.float64)
        self.scores = torch.zeros(0, dtype=torch.float64)

    def restore(self) -> int:
        """Take up the state of an interrupted training, if there is one; return the step to go on with."""
        if not self._run.unfinished.exists():
            return 0
        state = Progressed.load(self._run.unfinished)
        self._model.load_state_dict(state.model)
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": state.optimiser})
        self.losses, self.scores = state.losses, state.scores
        return state.step

    def steps_to_the_end(self) -> None:
        """Do every step that is left, and what belongs to the end of an epoch."""
        run, first = self._run, len(self.losses)
        self._progress("train", first, run.steps)
        with _own_generators(self._device), reused_memory(self._device):
            for step, (images, targets) in enumerate(self._batches(first), first):
                loss = self._step(step, images, targets)
                self.losses = torch.cat([self.losses, torch.tensor([loss], dtype=torch.float64)])
                if (step + 1) % run.steps_per_epoch == 0:
                    self.scores = torch.cat([self.scores, torch.tensor([self._validate()], dtype=torch.float64)])
                    self._save(step + 1)
                elif time.monotonic() - self._saved >= _SECONDS_BETWEEN_SAVES:
                    self._save(step + 1)
                self._progress("train", step + 1, run.steps)

    def _step(self, step: int, images: Tensor, targets: Tensor) -> float:
        run = self._run
        self._model.train()
        torch.manual_seed(derived_seed(run.seed, step, _STEP))  # dropout and the like
        _set_rates(self._optimiser, run.recipe, step / run.steps)
        loss = F.multilabel_soft_margin_loss(self._model(images), targets)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise _diverged(run, step)
        self._optimiser.zero_grad()
        torch.autograd.backward(loss)
        self._optimiser.step()
        return value

    def _batches(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the crops [B, 3, S, S] and targets [B, K] of every step from ``first``."""
        size = self._run.recipe.batch_size
        crops = read_ahead(self._crop, _plan(self._run, first), self._workers, 2 * size)
        while batch := list(islice(crops, size)):
            images, rows = zip(*batch, strict=True)
            yield self._on_device(np.stack(images)), self._targets[list(rows)].to(self._device)

    def _crop(self, place: tuple[int, int]) -> tuple[np.ndarray, int]:
        """Return what a step sees of a photo, and the photo's row."""
        (step, row), run = place, self._run
        recipe = run.recipe
        random = np.random.default_rng(derived_seed(derived_seed(run.seed, step, _CROP), row, _CROP))
        longest = (recipe.resize[0] * recipe.crop, recipe.resize[1] * recipe.crop)
        photo = read_photo(run.split.photos[row].path)
        return random_crop(photo, recipe.crop, longest, (run.trunk.mean, run.trunk.std), random), row

    @torch.no_grad()
    def _validate(self) -> float:
        """Return the mAP of the validation photos, each whole on a square of the crop's size; NaN without any."""
        val, recipe = self._run.val, self._run.recipe
        if val is None:
            return math.nan
        self._model.eval()
        longest = min(1.0, sum(recipe.resize) / 2) * recipe.crop
        look = partial(self._look, longest=longest)
        logits = []
        self._progress("validate", 0, len(val.photos))
        for done, image in enumerate(read_ahead(look, val.photos, self._workers, 2 * recipe.batch_size), 1):
            logits.append(self._model(self._on_device(image[None])).cpu())
            self._progress("validate", done, len(val.photos))
        score = mean_average_precision(torch.cat(logits), label_matrix(val)) if logits else None
        return math.nan if score is None else score

    def _on_device(self, images: np.ndarray) -> Tensor:
        return torch.from_numpy(images).to(self._device, memory_format=torch.channels_last)

    def _look(self, photo: Photo, longest: float) -> np.ndarray:
        trunk = self._run.trunk
        return centred(read_photo(photo.path), self._run.recipe.crop, longest, (trunk.mean, trunk.std))

    def _save(self, step: int) -> None:
        model = {name: tensor.detach().cpu() for name, tensor in self._model.state_dict().items()}
        if not all(torch.isfinite(tensor).all() for tensor in model.values()):
            raise _diverged(self._run, step)
        optimiser = self._optimiser.state_dict()["state"]
        Progressed(self._run.fingerprint, step, model, optimiser, self.losses, self.scores).save(self._run.unfinished)
        self._saved = time.monotonic()


def _plan(run: _Run, first: int) -> Iterator[tuple[int, int]]:
    """Yield (step, row of the photo) for every photo of every step from ``first``, in order."""
    size, per_epoch = run.recipe.batch_size, run.steps_per_epoch
    for epoch in range(first // per_epoch, run.recipe.epochs):
        generator = torch.Generator().manual_seed(derived_seed(run.seed, epoch, _ORDER))
        order = torch.randperm(len(run.split.photos), generator=generator).tolist()
        for place in range(per_epoch):
            step = epoch * per_epoch + place
            if step >= first:
                yield from ((step, row) for row in order[place * size : (place + 1) * size])


def _optimiser(model: _PooledClassifier, recipe: Recipe) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [{"params": list(model.trunk.parameters())}, {"params": [model.head.weight]}]
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def _set_rates(optimiser: torch.optim.Optimizer, recipe: Recipe, share: float) -> None:
    """Set the learning rates for the step before which ``share`` of all steps were done."""
    rate = recipe.lr * polynomial(share, recipe.power)
    for group, factor in zip(optimiser.param_groups, (1.0, recipe.head_lr_factor), strict=True):
        group["lr"] = rate * factor


def polynomial(share: float, power: float) -> float:
    """Return the learning rate, as a share of the first, after ``share`` of all steps.

    >>> [round(polynomial(share, 0.9), 3) for share in (0, 0.5, 1)]
    [1.0, 0.536, 0.0]
    """
    return float((1 - share) ** power)


@contextmanager
def _own_generators(device: torch.device) -> Iterator[None]:
    """Let torch's global generators be seeded inside and leave them as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _diverged(run: _Run, step: int) -> LpcamError:
    kept = f"; {run.unfinished} keeps the last state that was good" if run.unfinished.exists() else ""
    return LpcamError(
        f"the loss is not finite at step {step + 1} of {run.steps} (epoch {step // run.steps_per_epoch + 1}){kept}: "
        f"give an --lr below {run.recipe.lr:g}, and --overwrite"
    )
