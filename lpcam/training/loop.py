"""The steps of a training, from the first or from where it was interrupted, to the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpcam.backbones import load_classifier, load_trunk
from lpcam.backbones.checkpoints import fingerprint
from lpcam.datasets import read_photo
from lpcam.errors import LpcamError
from lpcam.locks import file_lock, working_on
from lpcam.memory import reused_memory
from lpcam.prototypes import derived_seed
from lpcam.records import Progress
from lpcam.sources import DataSource
from lpcam.training.checkpoint import Progressed
from lpcam.training.crops import random_crop, read_ahead
from lpcam.training.learner import Learner, Start
from lpcam.training.processes import Processes, joined
from lpcam.training.recipe import Recipe, polynomial
from lpcam.training.run import History, Run, TrainingReport
from lpcam.training.targets import label_matrix
from lpcam.training.validation import Validation, on_device

_ORDER, _CROP, _STEP = 0, 1, 2  # purposes of derived seeds
_SECONDS_BETWEEN_SAVES = 600.0


def train(
    make: Callable[[Start], Learner],
    data: DataSource,
    arch: str,
    out: Path,
    *,
    weights: str | Path | None,
    stride: int | None,
    recipe: Recipe,
    val_split: str | None,
    seed: int,
    device: str,
    workers: int,
    overwrite: bool,
    progress: Progress,
    system: Mapping[str, Any] | None = None,
) -> TrainingReport:
    """Train what ``make`` makes of an architecture: a start goes in, the network that learns comes out.

    ``system`` is the name and the options of what is trained, where it is not a plain classifier: it goes on from the
    class weights of a checkpoint, if they are for as many classes. The other arguments are those of
    `lpcam.training.train_classifier`. Under torchrun this process joins the others, and all return the same report.
    """
    started = time.perf_counter()
    if out.suffix not in (".pth", ".pt"):
        raise LpcamError(f"{out} is no name of a classifier: let --out end in .pth")
    if workers < 0:
        raise LpcamError(f"workers is {workers}: choose 0 or more")
    with joined(device) as (processes, own_device):
        processes.part_of(recipe.batch_size)
        split, val = data.open(), None if val_split is None else data.with_split(val_split).open()
        trunk = load_trunk(arch, weights, stride=stride, seed=seed, device=own_device)
        trunk.require_matrix_head()
        head = _kept_head(arch, weights, len(split.classes)) if system else None
        run = Run.of(split, val, trunk, recipe, seed, out, system and _with_head(system, head))
        start = Start(trunk, len(split.classes), seed, weights is not None, head, processes)
        learner = make(start).to(own_device).to(memory_format=torch.channels_last)
        with working_on(file_lock(out), stage="lpcam train") if processes.is_first else nullcontext():
            if processes.agreed(lambda: _is_finished(run, overwrite)):
                history, first_step, notices = processes.agreed(run.finished), run.steps, list[str]()
            else:
                history, first_step, notices = _to_the_end(Loop(run, learner, workers, progress, processes))
                processes.agreed(lambda: run.finish(learner.state(), history, learner.loss_names))
    if head is not None:
        notices = [f"the class weights of {weights} are kept and go on learning", *notices]
    return run.report(history, learner.loss_names, first_step, time.perf_counter() - started, *notices)


def _to_the_end(loop: Loop) -> tuple[History, int, list[str]]:
    """Go on with a training to its last step; return its history, the step that was the first now, and notices."""
    first_step = loop.restore()
    loop.steps_to_the_end()
    return loop.history, first_step, loop.notices


class Loop:
    """The loop over the steps.

    Attributes:
        history: Losses and scores so far.
    """

    def __init__(
        self, run: Run, learner: Learner, workers: int, progress: Progress, processes: Processes = Processes()
    ) -> None:
        self._run = run
        self._learner = learner
        self._network = processes.wrapped(learner)
        self._workers = workers
        self._progress = progress
        self._processes = processes
        self._targets = label_matrix(run.split)
        self._optimiser = _optimiser(learner, run.recipe)
        self._device = learner.head.weight.device
        self._validation = None if run.val is None else Validation(run.val, run.recipe, processes, workers, progress)
        self._saved = self._stepped = time.monotonic()
        self.history = History.empty(len(learner.loss_names))

    @property
    def notices(self) -> list[str]:
        """What a user should know, one line each."""
        return [] if self._validation is None else self._validation.notices

    def restore(self) -> int:
        """Take up the state of an interrupted training, if there is one; return the step to go on with."""
        state = self._processes.agreed(self._run.progressed)
        if state is not None:
            self._learner.load_state_dict(state.model)
            self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": state.optimiser})
            self.history = History(state.losses, state.scores)
        step = len(self.history.losses)
        if self._processes.is_first:
            self._run.log.cut(step)
        return step

    def steps_to_the_end(self) -> None:
        """Do every step that is left, and what belongs to the end of an epoch."""
        run, first = self._run, len(self.history.losses)
        self._progress("train", first, run.steps)
        with _own_generators(self._device), reused_memory(self._device):
            for step, (images, targets) in enumerate(self.batches(first), first):
                self.history = self.history.with_step(self._step(step, images, targets))
                at_the_end = (step + 1) % run.steps_per_epoch == 0
                if at_the_end:
                    self._require_finite(step + 1)
                    self._learner.end_of_epoch(step // run.steps_per_epoch)
                    self.history = self.history.with_epoch(*self._validate())
                self._write_down(step, at_the_end)
                self._progress("train", step + 1, run.steps)

    def batches(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's crops [B, 3, S, S] and targets [B, K] of every step from ``first``."""
        size = self._processes.part_of(self._run.recipe.batch_size)
        crops = read_ahead(self._crop, plan(self._run, first, self._processes), self._workers, 2 * size)
        while batch := list(islice(crops, size)):
            images, rows = zip(*batch, strict=True)
            yield on_device(np.stack(images), self._learner), self._targets[list(rows)].to(self._device)

    def _crop(self, place: tuple[int, int]) -> tuple[NDArray[np.float32], int]:
        """Return what a step sees of a photo, and the photo's row."""
        (step, row), run = place, self._run
        recipe = run.recipe
        random = np.random.default_rng(derived_seed(derived_seed(run.seed, step, _CROP), row, _CROP))
        longest = (recipe.resize[0] * recipe.crop, recipe.resize[1] * recipe.crop)
        photo = read_photo(run.split.photos[row].path)
        return random_crop(photo, recipe.crop, longest, (run.trunk.mean, run.trunk.std), random), row

    def _step(self, step: int, images: Tensor, targets: Tensor) -> Tensor:
        """Do a step; return its losses [L]."""
        run, share = self._run, self._processes.share
        self._network.train()
        torch.manual_seed(derived_seed(run.seed, step * share.count + share.index, _STEP))  # dropout and the like
        _set_rates(self._optimiser, run.recipe, step / run.steps)
        losses = self._network(images, targets)
        stacked = torch.stack([losses[name] for name in self._learner.loss_names])
        values = self._processes.mean(stacked.detach())
        if not torch.isfinite(values).all():
            raise _diverged(run, step)
        self._optimiser.zero_grad()
        torch.autograd.backward(stacked.sum())
        self._optimiser.step()
        return values

    def _validate(self) -> tuple[float, float]:
        return (math.nan, math.nan) if self._validation is None else self._validation.scores(self._learner)

    def _write_down(self, step: int, at_the_end: bool) -> None:
        if not self._processes.is_first:
            return
        self._run.log.append(self._line(step, at_the_end))
        if at_the_end or time.monotonic() - self._saved >= _SECONDS_BETWEEN_SAVES:
            self._save(step + 1)

    def _line(self, step: int, at_the_end: bool) -> dict[str, Any]:
        now, run = time.monotonic(), self._run
        seconds, self._stepped = now - self._stepped, now
        losses = dict(zip(self._learner.loss_names, self.history.losses[-1].tolist(), strict=True))
        rate = run.recipe.lr * polynomial(step / run.steps, run.recipe.power)
        line = {"step": step + 1, "epoch": step // run.steps_per_epoch + 1, **losses, "rate": rate}
        line["seconds"] = round(seconds, 4)
        if at_the_end:
            scores = zip(("map", "miou"), self.history.scores[-1].tolist(), strict=True)
            line |= {name: score for name, score in scores if not math.isnan(score)}
        return line

    def _require_finite(self, step: int) -> None:
        if not all(torch.isfinite(tensor).all() for tensor in self._learner.state_dict().values()):
            raise _diverged(self._run, step)

    def _save(self, step: int) -> None:
        self._require_finite(step)
        model = {name: tensor.detach().cpu() for name, tensor in self._learner.state_dict().items()}
        optimiser = self._optimiser.state_dict()["state"]
        history = self.history
        state = Progressed(self._run.fingerprint, step, model, optimiser, history.losses, history.scores)
        state.save(self._run.unfinished)
        self._saved = time.monotonic()


def plan(run: Run, first: int, processes: Processes = Processes()) -> Iterator[tuple[int, int]]:
    """Yield (step, row of the photo) for every photo of this process of every step from ``first``, in order."""
    size, per_epoch = run.recipe.batch_size, run.steps_per_epoch
    for epoch in range(first // per_epoch, run.recipe.epochs):
        generator = torch.Generator().manual_seed(derived_seed(run.seed, epoch, _ORDER))
        order = torch.randperm(len(run.split.photos), generator=generator).tolist()
        for place in range(per_epoch):
            step = epoch * per_epoch + place
            if step >= first:
                yield from ((step, row) for row in processes.part(order[place * size : (place + 1) * size]))


def _kept_head(arch: str, weights: str | Path | None, num_classes: int) -> Tensor | None:
    """Return the class weights of a checkpoint [K, C], if it has some for so many classes."""
    if weights is None or str(weights) == "imagenet":
        return None
    try:
        return load_classifier(arch, weights, num_classes=num_classes).class_weights
    except LpcamError:  # the rest of the checkpoint was read before: there is no head, or another's
        return None


def _with_head(system: Mapping[str, Any], head: Tensor | None) -> dict[str, Any]:
    return {**system, "head": None if head is None else fingerprint({"head": head})}


def _is_finished(run: Run, overwrite: bool) -> bool:
    run.claim(overwrite)
    return run.is_finished()


def _optimiser(learner: Learner, recipe: Recipe) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [{"params": learner.slow_parameters()}, {"params": learner.fast_parameters()}]
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def _set_rates(optimiser: torch.optim.Optimizer, recipe: Recipe, share: float) -> None:
    """Set the learning rates for the step before which ``share`` of all steps were done."""
    rate = recipe.lr * polynomial(share, recipe.power)
    for group, factor in zip(optimiser.param_groups, (1.0, recipe.head_lr_factor), strict=True):
        group["lr"] = rate * factor


@contextmanager
def _own_generators(device: torch.device) -> Iterator[None]:
    """Let torch's global generators be seeded inside and leave them as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _diverged(run: Run, step: int) -> LpcamError:
    kept = f"; {run.unfinished} keeps the last state that was good" if run.unfinished.exists() else ""
    return LpcamError(
        f"the loss is not finite at step {step + 1} of {run.steps} (epoch {step // run.steps_per_epoch + 1}){kept}: "
        f"give an --lr below {run.recipe.lr:g}, and --overwrite"
    )
