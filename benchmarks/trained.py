"""SIPE and CPAL as trained systems, beside the same classifier trained on without them.

All three go on from one checkpoint, its class weights included, with one recipe, one budget of steps and the same
seeds; what differs is the loss. Of every network that comes out, all methods of the corridor are scored on its own
features as `localisation` scores them: CAM says what the training did to the classifier, IS-CAM uses the sides that
SIPE trained, PACAM is looked up in a context clustered anew, LPCAM shows the trained systems as a classifier under it.

The start is the demo's classifier (``--set demo``), or the MobileNet beside the real photos, fine-tuned on the
``train`` photos of VOC animals (``--set real_voc_animals``), which wants a GPU:

    python -m benchmarks.trained --folder /tmp/trained                                   # goes on where it was
    python -m benchmarks.trained --set real_voc_animals --device cuda --out "$OUT"
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import localisation
from benchmarks.localisation import ROWS
from benchmarks.record import Check, Findings, conclude, environment, parser
from benchmarks.studies import DEMO, Study, claim, over_runs
from lpcam.errors import unknown
from lpcam.evaluation import SeedScores
from lpcam.sources import ClassifierSource
from lpcam.training import Recipe, TrainingReport, train_classifier, train_cpal, train_sipe

START = "start"
SYSTEMS: dict[str, Callable[..., TrainingReport]] = {
    "classifier": partial(train_classifier, keep_head=True),
    "sipe": train_sipe,
    "cpal": train_cpal,
}
TITLES = {START: "the start", "classifier": "trained on", "sipe": "SIPE", "cpal": "CPAL"}
OWN = {"sipe": "iscam", "cpal": "pacam"}
"""The method that a system is trained for."""
RECIPES = {
    DEMO: Recipe(epochs=10, batch_size=8, lr=0.005, crop=160, resize=(0.8, 1.25)),
    "real_voc_animals": Recipe(epochs=5, batch_size=16, lr=0.01, crop=320),
}
"""The learning rates are for networks that are trained already; IRN's .1 is for a new head on ImageNet's weights."""


@dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes:
        set: ``demo`` or ``real_voc_animals``.
        recipe: Of all trainings.
        seeds: Of the trainings, and of the clustering of what comes out.
        device: Of trainings and maps.
        photos: How maps are made and counted, and the demo's start.
    """

    set: str
    recipe: Recipe
    seeds: tuple[int, ...] = (0, 1, 2)
    device: str = "cpu"
    photos: localisation.Settings = field(
        default_factory=lambda: localisation.Settings(seeds=(0,), costed=0, variants=False)
    )


def run(settings: Settings, folder: Path) -> Findings:
    """Train every system with every seed, and score all methods on the start and on what comes out.

    Args:
        settings: What is run.
        folder: For checkpoints, features and counts; what is there is used again.

    Raises:
        LpcamError: the folder is of a run with other settings or another commit, or the photos are not there.
    """
    claim(folder, settings)
    title, (start, *_) = localisation.studies_of(settings.set, settings.photos, folder)
    scores = {START: [_scored(start, settings)]}
    training: dict[str, list[dict[str, Any]]] = {}
    for system in SYSTEMS:
        outcomes = [_trained(system, seed, start, settings, folder) for seed in settings.seeds]
        training[system] = [report for report, _ in outcomes]
        scores[system] = [_scored(study, settings) for _, study in outcomes]
    results = {
        split: {system: _rows([run[split] for run in runs]) for system, runs in scores.items()}
        for split in start.sources
    }
    return Findings({"title": title, "splits": results, "training": training}, _claims(results))


def _trained(system: str, seed: int, start: Study, settings: Settings, folder: Path) -> tuple[dict[str, Any], Study]:
    """Return how a training went, and the photos with the classifier that came of it."""
    arch, out = start.classifier.arch, folder / f"{system}-{seed}.pth"
    report = SYSTEMS[system](
        start.train,
        arch,
        out,
        weights=start.classifier.weights,
        stride=start.classifier.stride,
        recipe=settings.recipe,
        seed=seed,
        device=settings.device,
    )
    print(f"{system}, seed {seed}: {report.steps} steps", flush=True)
    source = ClassifierSource(arch, out, stride=start.classifier.stride)
    study = replace(start, folder=folder / f"{system}-{seed}", classifier=source, seeds=(seed,))
    study.folder.mkdir(exist_ok=True)
    return {"loss": list(report.loss), "steps": report.steps}, study


def _scored(study: Study, settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the scores of every method, by split."""
    ready = localisation.prepare(study, settings.photos)
    return {split: _of_split(ready, split, settings) for split in study.sources}


def _of_split(ready: localisation.Ready, split: str, settings: Settings) -> dict[str, Any]:
    scores: Mapping[str, SeedScores] = localisation.count(ready, split, settings.photos)
    opened = ready.study.sources[split].open()
    summed = localisation.summary([(ready.study, scores)], ("background", *opened.classes), len(opened.photos))
    return {key: summed["methods"][key]["runs"][0] for key in ROWS}


def _rows(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return every method's mean and standard deviation over the seeds."""
    return {
        key: {"title": row.title, **over_runs([run[key] for run in runs]), "runs": [run[key] for run in runs]}
        for key, row in ROWS.items()
    }


def _claims(results: Mapping[str, Any]) -> tuple[Check, ...]:
    """Return what a system is trained for: CAM, and its own maps, over those of the classifier trained on."""
    pairs = [(system, key) for system, own in OWN.items() for key in ("cam", own)]
    return tuple(
        Check(
            f"{split}: mIoU of {ROWS[key].title}, {TITLES[system]} − trained on",
            found[system][key]["miou"] - found["classifier"][key]["miou"],
            0,
            "at least",
        )
        for split, found in results.items()
        for system, key in pairs
    )


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return the settings that the command line asks for."""
    if arguments.set not in RECIPES:
        raise unknown("set", arguments.set, RECIPES)
    if arguments.dry_run:
        tiny = Recipe(epochs=2, batch_size=2, lr=0.01, crop=48)
        return Settings(
            arguments.set, tiny, (0,), photos=replace(localisation.DRY, seeds=(0,), costed=0, variants=False)
        )
    settings = Settings(arguments.set, RECIPES[arguments.set], device=arguments.device)
    return replace(settings, photos=replace(settings.photos, device=arguments.device))


def main(argv: Sequence[str] | None = None) -> None:
    """Be the command line."""
    options = parser(__doc__ or "")
    options.add_argument("--set", default=DEMO, help=f"{' or '.join(RECIPES)} (default {DEMO})")
    options.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    options.add_argument("--folder", type=Path, default=None, help="keep what was done here (default temporary)")
    arguments = options.parse_args(argv)
    before, settings = environment(arguments.device), settings_of(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        findings = run(settings, arguments.folder or Path(temporary))
    conclude(f"trained_{settings.set}", before, settings, findings, arguments)


if __name__ == "__main__":
    main()
