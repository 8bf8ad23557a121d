"""All methods of the corridor in one table, none of them trained: mIoU, precision, recall, and what a photo costs.

Sets are the demo data set and both yardsticks of `real_photos`. On the demo data set a seed makes scenes, classifier
and clustering; on real photos it makes the clustering alone, so that CAM and IS-CAM, which cluster nothing, have one
run there. Prototypes and context come from the ``train`` photos. Every photo goes through the network once; the maps of
all methods and seeds come from that pass and are counted at every threshold. On the first photos the same is done by
writing IRN seeds and evaluating them, and both must agree exactly; on the others all IS-CAMs of a photo share its
structure (`Together`). The ablations and metrics of PACAM are counted too, of one seed on real photos.

Costs are those of one method at a time, at equal scales, on the same photos, in turns: of the maps alone, made from
features that are there, and of ``lpcam generate`` as a whole.

    python -m benchmarks.localisation --folder /tmp/localisation      # goes on where it was interrupted
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks import real_photos
from benchmarks.real_photos import YARDSTICKS, count_maps, scored
from benchmarks.record import Check, Findings, Timing, conclude, environment, measure_in_turns, parser
from benchmarks.studies import (
    DEMO,
    Study,
    claim,
    cluster_once,
    copy_whole,
    demo_study,
    extract,
    over_runs,
    parts,
    real_study,
    support_once,
)
from benchmarks.together import together
from lpcam.corridor import MethodSettings, evaluate, generate
from lpcam.corridor.basis import read_basis
from lpcam.corridor.methods import Means, make_method
from lpcam.datasets.demo import TRAIN_PHOTOS, VAL_PHOTOS
from lpcam.errors import LpcamError, unknown
from lpcam.evaluation import Score, SeedScores, compute, parse_thresholds
from lpcam.files import write_atomically
from lpcam.forward import Forward, Loaded
from lpcam.methods import Method
from lpcam.methods.pacam import Awareness
from lpcam.profiles import get_profile
from lpcam.records import DataSplit, Execution, ViewFeatures
from lpcam.sources import DataSource
from lpcam.training.demo import DemoRecipe
from lpcam.views import PUBLISHED_SCALES, merge_scales

SETS = (DEMO, *YARDSTICKS)


@dataclass(frozen=True)
class Row:
    """A method of the table.

    Attributes:
        title: As a person reads it.
        method: As ``--method`` takes it.
        settings: Choices about it.
        clusters: Whether it is made of anything that was clustered, and so has a seed.
    """

    title: str
    method: str
    settings: MethodSettings = MethodSettings()
    clusters: bool = True


ROWS = {
    "cam": Row("CAM", "cam", clusters=False),
    "class-prototypes": Row("class prototypes only", "class-prototypes"),
    "lpcam": Row("LPCAM", "lpcam"),
    "iscam": Row("IS-CAM", "iscam", clusters=False),
    "iscam-from-lpcam": Row("IS-CAM from LPCAM", "iscam", MethodSettings(iscam_from="lpcam")),
    "pacam": Row("PACAM", "pacam"),
}
"""The table."""


def _pacam(title: str, **choices: Any) -> Row:
    return Row(f"PACAM, {title}", "pacam", MethodSettings(pacam=Awareness(**choices)), choices.get("bank", True))


VARIANTS = {
    "iscam-last-level": Row("IS-CAM, last level", "iscam", MethodSettings(iscam_levels=1), clusters=False),
    "iscam-from-lpcam-last-level": Row(
        "IS-CAM from LPCAM, last level", "iscam", MethodSettings(iscam_from="lpcam", iscam_levels=1)
    ),
    "iscam-labels-only": Row(
        "IS-CAM, own labels only", "iscam", MethodSettings(iscam_labels_only=True), clusters=False
    ),
    "pacam-no-bank": _pacam("no bank", bank=False),
    "pacam-no-alignment": _pacam("no alignment", alignment=False),
    "pacam-no-positiveness": _pacam("no positiveness", positiveness=False),
    "pacam-cosine": _pacam("cosine", metric="cosine"),
    "pacam-euclidean": _pacam("Euclidean", metric="euclidean"),
}
"""CPAL's ablations and metrics, and IS-CAM by its options."""
EVERY = {**ROWS, **VARIANTS}


@dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes:
        sets: Of `SETS`.
        seeds: See above.
        scales: Of the views.
        profile: Of LPCAM's clustering.
        thresholds: Of the background.
        painted: Photos of the demo data set, train and val.
        recipe: Of the demo's classifier.
        limit: Real photos a split; 0 for all.
        written: Photos on which seeds are written and evaluated too.
        block: Photos that are counted before the counts are saved.
        costed: Photos whose cost is measured; 0 for none.
        map_rounds: Rounds of the cost of maps.
        generate_rounds: Rounds of the cost of ``lpcam generate``.
        device: Of the maps.
        variants: Whether PACAM's ablations and metrics are counted.
    """

    sets: tuple[str, ...] = SETS
    seeds: tuple[int, ...] = (0, 1, 2)
    scales: tuple[float, ...] = PUBLISHED_SCALES
    profile: str = "voc"
    thresholds: str = "0:1:.01"
    painted: tuple[int, int] = (TRAIN_PHOTOS, VAL_PHOTOS)
    recipe: DemoRecipe = DemoRecipe()
    limit: int = 0
    written: int = 12
    block: int = 64
    costed: int = 6
    map_rounds: int = 9
    generate_rounds: int = 5
    device: str = "cpu"
    variants: bool = True


DRY = Settings(
    seeds=(0, 1),
    scales=(1.0, 0.5),
    thresholds="0:1:.1",
    painted=(4, 2),
    recipe=DemoRecipe(epochs=1, batch_size=4, longest=64, crop=48),
    limit=3,
    written=1,
    block=2,
    costed=1,
    map_rounds=1,
    generate_rounds=1,
)


class Tally(SeedScores):
    """Counts of photos that were counted before, known by their confusions."""

    def __init__(self, num_classes: int, thresholds: Sequence[float], confusions: Tensor, images: int) -> None:
        """Take what `confusions` is to return, and the number of photos."""
        super().__init__(num_classes, thresholds)
        self._confusions = confusions
        self.images = images

    def confusions(self) -> Tensor:
        """Return the confusion at every threshold: int64 [T, K+1, K+1]."""
        return self._confusions


# -- the sets ----------------------------------------------------------------------------------------


def studies_of(name: str, settings: Settings, folder: Path) -> tuple[str, list[Study]]:
    """Return the title of a set and its studies: one a seed of the demo, one of real photos.

    Raises:
        LpcamError: the real photos are not there, or OpenCV, which paints the demo, is missing.
    """
    if name == DEMO:
        painted: dict[str, Any] = {"painted": settings.painted, "recipe": settings.recipe, "scales": settings.scales}
        return "demo data set", [demo_study(seed, folder / f"{DEMO}-{seed}", **painted) for seed in settings.seeds]
    asked: dict[str, Any] = {"seeds": settings.seeds, "scales": settings.scales, "limit": settings.limit}
    title, study = real_study(name, folder / name, **asked)
    return title, [study]


# -- maps and counts ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ready:
    """A study whose methods can be used.

    Attributes:
        study: What it is of.
        forward: Classifier and scales.
        methods: By the row's key and, where it has one, the seed.
        counted: The same methods, the IS-CAMs among them as members of one `Together`.
    """

    study: Study
    forward: Forward
    methods: dict[str, Method]
    counted: dict[str, Method]


def prepare(study: Study, settings: Settings) -> Ready:
    """Extract features, cluster with every seed, and make all methods; what is there is used again."""
    extract(study, settings.device)
    for seed in study.seeds:
        cluster_once(study, seed, settings.profile, get_profile(settings.profile), settings.device)
        support_once(study, seed, settings.device)
    basis = read_basis(study.workspace)
    net = study.classifier.load(len(basis.classes), settings.device)
    methods = {}
    for key, row in (EVERY if settings.variants else ROWS).items():
        for name, seed in _runs(key, study.seeds):
            files = study.prototypes(seed, settings.profile), study.support(seed)
            methods[name] = make_method(
                row.method, Means(net, basis.features, *files, study.workspace.discriminants, row.settings)
            )
    return Ready(study, Forward(net, study.scales), methods, together(methods))


def _runs(key: str, seeds: Sequence[int]) -> list[tuple[str, int]]:
    """Return the name and the seed of every run of a row in a study."""
    if key in VARIANTS or not EVERY[key].clusters:
        return [(key, seeds[0])]
    return [(f"{key} {seed}", seed) for seed in seeds]


def count(ready: Ready, split: str, settings: Settings) -> dict[str, SeedScores]:
    """Count the maps of every method, block by block; blocks that were counted before are read.

    Raises:
        LpcamError: a photo cannot be read.
    """
    opened, thresholds = ready.study.sources[split].open(), parse_thresholds(settings.thresholds)
    each = enumerate(parts(opened, settings.written, settings.block))
    blocks = [_block(ready, split, part, index, settings) for index, part in each]
    return {
        name: Tally(len(opened.classes), thresholds, _total(blocks, name), len(opened.photos)) for name in ready.methods
    }


def _block(ready: Ready, split: str, part: DataSplit, index: int, settings: Settings) -> dict[str, Tensor]:
    path = ready.study.folder / f"counts-{split}-{index}.safetensors"
    if not path.exists():
        asked = real_photos.Settings("", (), (), thresholds=settings.thresholds, written=0)
        methods = ready.counted if index else ready.methods  # the first are compared with written seeds, exactly
        scores = count_maps(part, ready.forward, methods, asked, Execution(settings.device)).whole
        confusions = {name: found.confusions().contiguous() for name, found in scores.items()}
        write_atomically(path, lambda partial: save_file(confusions, partial))
        print(f"{path.parent.name}, {split}: {len(part.photos)} more photos are counted", flush=True)
    return load_file(path)


def _total(blocks: Sequence[Mapping[str, Tensor]], name: str) -> Tensor:
    return torch.stack([block[name] for block in blocks]).sum(dim=0)


def written_difference(ready: Ready, settings: Settings) -> float:
    """Write and evaluate seeds of the first photos as the commands do; return the largest difference of the mIoU."""
    study, seed = ready.study, ready.study.seeds[0]
    copy_whole(study.prototypes(seed, settings.profile), study.workspace.prototypes)
    copy_whole(study.support(seed), study.workspace.support)
    opened, thresholds = study.train.open(), parse_thresholds(settings.thresholds)
    first = next(parts(opened, settings.written, settings.block))
    few = study.listed(first, "written")
    counted = _block(ready, next(iter(study.sources)), first, 0, settings)
    differences = []
    for key, scores in _written_scores(study, few, settings).items():
        name, _ = _runs(key, study.seeds)[0]
        in_memory = compute(Tally(len(opened.classes), thresholds, counted[name], len(first.photos)))
        differences += [abs(a.miou - b.miou) for a, b in zip(scores, in_memory.scores, strict=True)]
    return max(differences)


def _written_scores(study: Study, few: DataSource, settings: Settings) -> dict[str, tuple[Score, ...]]:
    """Return the scores of seeds that the commands write and evaluate, by row: one forward pass for each choice."""
    found = {}
    for choices in (MethodSettings(), ROWS["iscam-from-lpcam"].settings):
        keys = [key for key, row in ROWS.items() if row.settings == choices]
        methods = [ROWS[key].method for key in keys]
        asked: dict[str, Any] = {"methods": methods, "settings": choices, "data": few}
        generate(study.workspace, **asked, execution=Execution(settings.device), overwrite=True)
        for key, method in zip(keys, methods, strict=True):
            report = evaluate(study.workspace, method=method, data=few, thresholds=settings.thresholds)
            found[key] = report.curve.scores
    return found


def summary(
    counted: Sequence[tuple[Study, Mapping[str, SeedScores]]], names: Sequence[str], images: int
) -> dict[str, Any]:
    """Return every row of one split: mean and standard deviation over all runs of all studies, and the runs."""
    methods = {}
    for key, row in EVERY.items():
        runs = [
            _scored(scores[name], names, study.mean_over)
            for study, scores in counted
            for name, _ in _runs(key, study.seeds)
            if name in scores
        ]
        if not runs:
            continue
        methods[key] = {"title": row.title, **over_runs(runs), "runs": runs}
    return {"images": images, "methods": methods}


def _scored(scores: SeedScores, names: Sequence[str], mean_over: tuple[str, ...]) -> dict[str, Any]:
    found = scored(scores, tuple(names), mean_over)
    return {**found, "curve": found["curve"]["miou"]}


# -- costs -------------------------------------------------------------------------------------------


def costs(ready: Ready, settings: Settings) -> dict[str, Any]:
    """Measure what every row of the table costs on the same photos, in turns."""
    study = ready.study
    split = study.train.open()
    step = max(1, len(split.photos) // settings.costed)
    chosen = replace(split, photos=split.photos[::step][: settings.costed])
    loaded = [_loaded(ready.forward, photo) for photo in chosen.photos]
    seen = [
        (entry, [scale[0] for scale in ready.forward.seen(entry, levels=range(len(ready.forward.scales)))])
        for entry in loaded
    ]
    methods = {key: ready.methods[_runs(key, study.seeds)[0][0]] for key in ROWS}
    maps = measure_in_turns(
        {key: _maps_call(method, seen) for key, method in methods.items()}, repeats=settings.map_rounds
    )
    calls = {
        "forwards": _forwards_call(ready.forward, loaded),
        "forwards, all levels": _forwards_call(ready.forward, loaded, levels=True),
    }
    forwards = measure_in_turns(calls, repeats=settings.generate_rounds)
    del seen
    return {
        "images": len(loaded),
        "scales": list(study.scales),
        "forwards": _a_photo(forwards, len(loaded)),
        "maps": _a_photo(maps, len(loaded)),
        "generate": _a_photo(_generate_timings(study, chosen, settings), len(loaded)),
    }


def _loaded(forward: Forward, photo: Any) -> Loaded:
    loaded = forward.load([photo])
    if not isinstance(loaded, Loaded):
        raise LpcamError(f"{loaded.name} failed ({loaded.reason}): repair the photo")
    return loaded


def _maps_call(method: Method, seen: Sequence[tuple[Loaded, list[ViewFeatures]]]) -> Callable[[], object]:
    @torch.inference_mode()
    def call() -> None:
        for loaded, scales in seen:
            labels = loaded.photos[0].labels
            merge_scales([method.view_maps(view, labels) for view in scales], labels, loaded.size, method.epsilon)

    return call


def _forwards_call(forward: Forward, loaded: Sequence[Loaded], *, levels: bool = False) -> Callable[[], object]:
    def call() -> None:
        for entry in loaded:
            for _ in forward.seen(entry, levels=range(len(forward.scales)) if levels else ()):
                pass

    return call


def _generate_timings(study: Study, chosen: DataSplit, settings: Settings) -> dict[str, Timing]:
    """Time the whole of ``lpcam generate``, with the classifier that is loaded and the seeds that are written."""
    few = study.listed(chosen, "costed")
    with tempfile.TemporaryDirectory() as folder:
        calls = {key: _generate_call(study, row, few, Path(folder) / key) for key, row in ROWS.items()}
        return measure_in_turns(calls, repeats=settings.generate_rounds)


def _generate_call(study: Study, row: Row, few: DataSource, out: Path) -> Callable[[], object]:
    asked: dict[str, Any] = {"methods": (row.method,), "settings": row.settings, "data": few, "overwrite": True}

    def call() -> None:
        shutil.rmtree(out, ignore_errors=True)
        generate(study.workspace, **asked, out=out, execution=Execution("cpu"))

    return call


def _a_photo(timings: Mapping[str, Timing], photos: int) -> dict[str, Any]:
    """Return every timing with its median a photo and, where CAM is among them, as a multiple of CAM's."""
    baseline = timings.get("cam")
    return {
        name: {
            **timing.as_json(),
            "seconds_a_photo": timing.median / photos,
            **({"over_cam": timing.median / baseline.median} if baseline else {}),
        }
        for name, timing in timings.items()
    }


# -- the run -----------------------------------------------------------------------------------------


def run(settings: Settings, folder: Path) -> Findings:
    """Score all methods on every set, and measure what they cost on the last.

    Args:
        settings: What is run.
        folder: For features, prototypes and counts; what is there is used again.

    Raises:
        LpcamError: the folder is of a run with other settings or another commit.
    """
    claim(folder, settings)
    sets: dict[str, Any] = {}
    checks: list[Check] = []
    cost: dict[str, Any] = {}
    for name in settings.sets:
        title, studies = studies_of(name, settings, folder)
        ready = [prepare(study, settings) for study in studies]
        print(f"{title}: features and prototypes are there", flush=True)
        difference = written_difference(ready[0], settings)
        checks.append(_exact(f"{title}: largest difference of the mIoU: written seeds, counted maps", difference))
        sets[name] = {"title": title, "splits": {split: _split(ready, split, settings) for split in studies[0].sources}}
        checks += _gains(title, sets[name]["splits"])
        if settings.costed and (name == "real_voc_animals" or len(settings.sets) == 1):
            cost = {"set": title, **costs(ready[0], settings)}
            checks += _prices(cost)
    return Findings({"sets": sets, "cost": cost}, tuple(checks))


def _split(ready: Sequence[Ready], split: str, settings: Settings) -> dict[str, Any]:
    opened = ready[0].study.sources[split].open()
    counted = [(entry.study, count(entry, split, settings)) for entry in ready]
    return summary(counted, ("background", *opened.classes), len(opened.photos))


def _exact(name: str, value: float) -> Check:
    return Check(name, value, 0, "at most", equality=True)


def _gains(title: str, splits: Mapping[str, Any]) -> list[Check]:
    """Return the claims: every method over CAM, and IS-CAM from LPCAM over both that it is made of."""
    pairs = [(key, "cam") for key in ROWS if key != "cam"]
    pairs += [("iscam-from-lpcam", other) for other in ("iscam", "lpcam")]
    return [
        Check(
            f"{title}, {split}: mIoU of {ROWS[ours].title} − {ROWS[other].title}",
            found["methods"][ours]["miou"] - found["methods"][other]["miou"],
            0,
            "at least",
        )
        for split, found in splits.items()
        for ours, other in pairs
    ]


def _prices(cost: Mapping[str, Any]) -> list[Check]:
    limits = {key: 1.5 if row.method == "iscam" else 1.1 for key, row in ROWS.items() if key != "cam"}
    return [
        Check(
            f"generate of {ROWS[key].title} over generate of CAM", cost["generate"][key]["over_cam"], limit, "at most"
        )
        for key, limit in limits.items()
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Be the command line."""
    arguments = _parser().parse_args(argv)
    for name in arguments.set or ():
        if name not in SETS:
            raise unknown("set", name, SETS)
    before, settings = environment(), DRY if arguments.dry_run else Settings()
    settings = replace(settings, sets=tuple(arguments.set or settings.sets))
    if not arguments.cost:
        settings = replace(settings, costed=0)
    with tempfile.TemporaryDirectory() as temporary:
        findings = run(settings, arguments.folder or Path(temporary))
    conclude("localisation", before, settings, findings, arguments)


def _parser() -> argparse.ArgumentParser:
    options = parser(__doc__ or "")
    options.add_argument("--set", action="append", help=f"{', '.join(SETS)} (default all)")
    options.add_argument("--cost", action=argparse.BooleanOptionalAction, default=True, help="measure costs too")
    options.add_argument(
        "--folder", type=Path, default=None, help="keep what was done here, to continue (default temporary)"
    )
    return options


if __name__ == "__main__":
    main()
