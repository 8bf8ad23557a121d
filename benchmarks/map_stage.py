"""LPCAM's map stage: one product for all classes beside the paper's form, one cosine map a prototype.

Both get the same merged features [C, h, w] of every scale and return ReLU(FG − BG) of every class and scale; the
outputs are compared after the division by their maximum, as they are used. Folding the prototypes happens once a data
set and is timed on its own. The folded side is timed with the features as the corridor hands them over (channels last)
and with channels first; the one-by-one side with channels first, its published layout. Many classes are compared at
one scale only: one by one they would take minutes.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import Check, Findings, command, measure, measure_in_turns
from lpcam.methods.lpcam import fold, prototype_activation
from lpcam.views import normalise


@dataclass(frozen=True)
class Case:
    """What is compared at once.

    Attributes:
        classes: Of an image.
        rounds: It is timed in; a case of one round, which takes long, has none before it that warms up.
        grids: (h, w) of every scale.
    """

    classes: int
    rounds: int
    grids: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        channels: C.
        class_prototypes: P of a class.
        context_prototypes: P' of a class.
        cases: Compared one after the other.
        seed: Of features and prototypes.
    """

    channels: int = 2048
    class_prototypes: int = 12
    context_prototypes: int = 9
    cases: tuple[Case, ...] = (Case(1, 3, ((32, 32), (16, 16), (48, 48), (64, 64))), Case(10, 1, ((32, 32),)))
    seed: int = 0


DRY = Settings(channels=64, cases=(Case(1, 2, ((8, 8), (4, 4))), Case(3, 1, ((8, 8),))))


def run(settings: Settings) -> Findings:
    """Compare both forms for every number of classes."""
    results: dict[str, Any] = {}
    checks: list[Check] = []
    for case in settings.cases:
        found, difference = _compare(case, settings)
        name = f"{case.classes} classes" if case.classes > 1 else "1 class"
        results[name] = found
        checks += [
            Check(f"{name}: largest difference of the maps", difference, 1e-5, "at most", equality=True),
            Check(f"{name}: times faster, one by one over folded", found["speedup"], 50, "at least"),
        ]
    return Findings(results, tuple(checks))


def make_data(case: Case, settings: Settings) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
    """Return features and prototypes, all ≥ 0, noise around a direction a class and one for the background.

    Returns:
        The merged features [C, h, w] of every scale, each position near a class or the background; and for every
        class its class prototypes [P, C] and context prototypes [P', C].
    """
    generator = torch.Generator().manual_seed(settings.seed)

    def near(centres: Tensor) -> Tensor:
        return (2 * centres + torch.randn(centres.shape, generator=generator)).relu_()

    directions = torch.randn(case.classes + 1, settings.channels, generator=generator)
    positions = [torch.randint(case.classes + 1, grid, generator=generator) for grid in case.grids]
    features = [near(directions[chosen]).permute(2, 0, 1).contiguous() for chosen in positions]
    background = directions[-1].expand(settings.context_prototypes, -1)
    prototypes = [
        (near(direction.expand(settings.class_prototypes, -1)), near(background)) for direction in directions[:-1]
    ]
    return features, prototypes


def folded_maps(features: list[Tensor], folded: Tensor) -> list[Tensor]:
    """Return the maps of every scale, [K, h, w], by one product each."""
    return [prototype_activation(scale[None], folded)[0] for scale in features]


def one_by_one_maps(features: list[Tensor], prototypes: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Return the maps of every scale, [K, h, w], prototype by prototype."""
    reference = importlib.import_module("tests.reference.one_by_one")
    return [torch.stack([reference.localise(scale, *pair) for pair in prototypes]) for scale in features]


def _compare(case: Case, settings: Settings) -> tuple[dict[str, Any], float]:
    features, prototypes = make_data(case, settings)
    channels_last = [scale[None].contiguous(memory_format=torch.channels_last)[0] for scale in features]

    def fold_all() -> Tensor:
        return torch.stack([fold(*pair) for pair in prototypes])

    folded = fold_all()
    timings = measure_in_turns(
        {
            "folded": lambda: folded_maps(channels_last, folded),
            "folded, channels first": lambda: folded_maps(features, folded),
            "one by one": lambda: one_by_one_maps(features, prototypes),
        },
        repeats=case.rounds,
        warmup=min(case.rounds - 1, 1),
    )
    timings["folded"] = measure(lambda: folded_maps(channels_last, folded), repeats=max(case.rounds, 9))
    numbers: dict[str, Any] = {name: timing.as_json() for name, timing in timings.items()}
    numbers["folding, once a data set"] = measure(fold_all).as_json()
    numbers["speedup"] = timings["one by one"].median / timings["folded"].median
    ours, theirs = folded_maps(channels_last, folded), one_by_one_maps(features, prototypes)
    return numbers, _largest_difference(ours, theirs)


def _largest_difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return max(float((normalise(left) - normalise(right)).abs().max()) for left, right in pairs)


if __name__ == "__main__":
    command("map_stage", __doc__ or "", run, full=Settings(), dry=DRY)
