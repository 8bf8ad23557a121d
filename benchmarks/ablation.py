"""Every ingredient on and off: methods and what follows them, on real photos, by two classifiers and by one class.

A row is a method with what follows it. The classifiers are the one beside the photos, which saw image-level labels, and
class weights fitted to the frozen ImageNet network on the ``train`` photos of each yardstick. Three more sets are the
photos of one animal under ImageNet's own class weights, whose class for it is all that is known of them.

A photo goes through the network once for all rows, and its counts are kept (`benchmarks.by_photo`). On ``train`` each
half of the photos (every other of the list) is scored at the threshold of best mIoU on the other half, and the mIoU is
that of both halves' pixels together; held-out photos are scored at the threshold of best mIoU on all ``train`` photos.
The difference of a row to plain LPCAM, by the mean over seeds, has the central 95 % of its values when photos are drawn
anew, thresholds kept (paired bootstrap).

    python -m benchmarks.ablation --folder F                    # goes on where it was interrupted
    python -m benchmarks.ablation --folder F --count --part probe-real_voc_animals    # a process beside it
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.by_photo import Counts, count_photo, draws, interval, iou, is_even, mean_over, resampled
from benchmarks.real_photos import ARCH, YARDSTICKS, real_data
from benchmarks.record import Check, Findings, conclude, environment, parser
from benchmarks.studies import (
    DEMO,
    Study,
    claim,
    cluster_once,
    demo_study,
    discriminants_once,
    extract,
    over_runs,
    parts,
    real_study,
    support_once,
)
from benchmarks.together import together
from lpcam.corridor import MethodSettings
from lpcam.corridor.basis import read_basis
from lpcam.corridor.methods import Means, make_method
from lpcam.datasets import read_mask
from lpcam.discriminants import FisherProfile
from lpcam.errors import LpcamError, unknown
from lpcam.evaluation import parse_thresholds
from lpcam.files import read_json, write_json
from lpcam.forward import Forward, Loaded, load_ahead
from lpcam.generate import activation_maps
from lpcam.methods import Method
from lpcam.profiles import Profile, get_profile
from lpcam.propagation import Propagation, Scene, Walk
from lpcam.records import ActivationMaps, DataSplit
from lpcam.sources import ClassifierSource, DataSource
from lpcam.training import HeadRecipe, train_head
from lpcam.training.demo import DemoRecipe
from lpcam.views import mirror_added

IMAGENET = "mobilenet_v2_imagenet.pth"
IMAGENET_CLASSES = 1000
ANIMALS = {"horse": 339, "sheep": 348, "cow": 345}
"""ImageNet's sorrel, ram and ox."""


@dataclass(frozen=True)
class Base:
    """A method.

    Attributes:
        title: As a person reads it.
        method: As ``--method`` takes it.
        clustering: Of `CLUSTERINGS`, what its prototypes come from.
        settings: Choices about it.
        seeded: Whether it is made of anything that was clustered, and so has a run a seed.
        once: Whether it is clustered with the first seed alone.
    """

    title: str
    method: str
    clustering: str = "voc"
    settings: MethodSettings = MethodSettings()
    seeded: bool = True
    once: bool = False

    def seeds(self, seeds: Sequence[int]) -> Sequence[int]:
        """Return the seeds that it has a run of."""
        return seeds if self.seeded and not self.once else seeds[:1]


CLUSTERINGS: dict[str, Profile | FisherProfile] = {
    "voc": get_profile("voc"),
    "coco": get_profile("coco"),
    "restarts": get_profile("voc", restarts=3),
    "relative-threshold": get_profile("voc", relative_threshold=True),
    "weigh-sizes": get_profile("voc", weigh_sizes=True),
    "adaptive-k": get_profile("voc", adaptive_k=True),
    "fisher": FisherProfile(),
    "fisher-one-pass": FisherProfile(passes=1),
}
BASES = {
    "cam": Base("CAM", "cam", seeded=False),
    "class-prototypes": Base("class prototypes only, `voc` profile", "class-prototypes"),
    "lpcam": Base("LPCAM, `voc` profile", "lpcam"),
    "lpcam-coco": Base("LPCAM, `coco` profile", "lpcam", "coco"),
    "iscam": Base("IS-CAM", "iscam", seeded=False),
    "iscam-from-lpcam": Base("IS-CAM from LPCAM", "iscam", settings=MethodSettings(iscam_from="lpcam")),
    "pacam": Base("PACAM", "pacam"),
    "fisher": Base("Fisher", "fisher", "fisher", seeded=False),
    "restarts": Base("LPCAM, `voc` profile, three starts", "lpcam", "restarts", once=True),
    "relative-threshold": Base("LPCAM, `voc` profile, relative threshold", "lpcam", "relative-threshold", once=True),
    "weigh-sizes": Base("LPCAM, `voc` profile, sizes as weights", "lpcam", "weigh-sizes", once=True),
    "adaptive-k": Base("LPCAM, `voc` profile, adaptive K", "lpcam", "adaptive-k", once=True),
    "fisher-one-pass": Base("Fisher, one pass", "fisher", "fisher-one-pass", seeded=False),
}
SWITCHES = ("restarts", "relative-threshold", "weigh-sizes", "adaptive-k", "fisher-one-pass")
"""Each clusters anew; seen with the given classifier, on one of the yardsticks, with one seed."""
SWITCHED = "real_coco_subset"
PLAIN = ("lpcam", "lpcam-coco")
"""Plain LPCAM; what a row is held against is the better of them on the same photos."""


@dataclass(frozen=True)
class EvenWalk(Walk):
    """The walk with one length for all images, however many classes they hold."""

    def rate(self, classes: int) -> float:
        """Return r."""
        return self.restart


@dataclass(frozen=True)
class WalkOfRuns(Walk):
    """The walk of the maps of several runs at once, each as if it walked alone.

    Attributes:
        alone: The walk of one.
        runs: How many.
    """

    alone: Walk = Walk()
    runs: int = 1

    def rate(self, classes: int) -> float:
        """Return r for the image's classes, of which every run has a map."""
        return self.alone.rate(classes // self.runs)


@dataclass(frozen=True)
class Post:
    """What follows a method.

    Attributes:
        title: As a person reads it.
        walk: Of the maps.
        edges: Of the maps.
        bases: Of `BASES`, the methods that it follows; all when empty.
    """

    title: str
    walk: Walk | None = None
    edges: str | None = None
    bases: tuple[str, ...] = ()

    @property
    def propagation(self) -> Propagation:
        """What is done with the maps."""
        return Propagation(self.walk, self.edges)


NOTHING = "none"
PROPAGATED = ("cam", *PLAIN, "iscam", "iscam-from-lpcam", "pacam", "fisher")
INGREDIENTS_ON = ("cam", "lpcam-coco", "fisher")
"""Methods on which the ingredients of the walk are turned off one by one."""
POSTS = {
    NOTHING: Post("nothing"),
    "walk": Post("walk", Walk(), bases=PROPAGATED),
    "pamr": Post("PAMR", edges="pamr", bases=("cam", *PLAIN, "iscam", "fisher")),
    "walk-pamr": Post("walk, PAMR", Walk(), "pamr"),
    "walk-5": Post("walk of 5 steps, no restart", Walk(restart=0, steps=5), bases=INGREDIENTS_ON),
    "walk-20": Post("walk of 20 steps, no restart", Walk(restart=0, steps=20), bases=INGREDIENTS_ON),
    "walk-even": Post("walk of one length for all", EvenWalk(), bases=INGREDIENTS_ON),
    "walk-power-6": Post("walk, power 6", Walk(power=6), bases=INGREDIENTS_ON),
    "walk-neighbours-2": Post("walk, 2 % neighbours", Walk(neighbours=0.02), bases=INGREDIENTS_ON),
    "walk-neighbours-8": Post("walk, 8 % neighbours", Walk(neighbours=0.08), bases=INGREDIENTS_ON),
    "walk-floor": Post("walk, floor left", Walk(floor=False), bases=INGREDIENTS_ON),
    "walk-level": Post("walk on one level", Walk(levels=1), bases=INGREDIENTS_ON),
    "walk-crf": Post("walk, CRF", Walk(), "crf", ("cam", "fisher")),
}
"""The last takes a second a photo and method, and the extra ``crf``: only where it is asked for."""


@dataclass(frozen=True)
class Row:
    """A method with what follows it.

    Attributes:
        base: Of `BASES`.
        post: Of `POSTS`.
    """

    base: str
    post: str = NOTHING

    @property
    def key(self) -> str:
        """Its name."""
        return self.base if self.post == NOTHING else f"{self.base}+{self.post}"

    def runs(self, seeds: Sequence[int]) -> list[str]:
        """Return the names of its runs, one a seed."""
        return [f"{self.key} {seed}" for seed in BASES[self.base].seeds(seeds)]


EVERY = tuple(Row(base, post) for base in BASES for post, entry in POSTS.items() if base in (entry.bases or BASES))
ROWS = tuple(row for row in EVERY if POSTS[row.post].edges != "crf")
OF_ONE_CLASS = ("cam", *PLAIN, "fisher")
POSTS_OF_ONE_CLASS = (NOTHING, "walk", "pamr", "walk-pamr")
"""Rows of the sets of one class."""

LEAST = {"given-real_voc_animals": 0.12, "given-real_coco_subset": 0.05}
"""mIoU that walk and PAMR together are to bring over plain LPCAM; no class is to lose a point."""


@dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes:
        parts: Of `PARTS`.
        seeds: Of the clusterings.
        scales: Of the views.
        thresholds: Of the background.
        resamples: Of the bootstrap.
        head: Of the class weights over the frozen network.
        limit: Photos a split; 0 for all.
        block: Photos that are counted before the counts are saved.
        checked: Photos on which the maps are held against those of `lpcam.generate`.
        device: Of the maps.
        crf: Whether rows with the dense CRF are counted.
        painted: Photos of the demo data set, train and val, which serves where the real photos are not.
        recipe: Of the demo's classifier.
    """

    parts: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    scales: tuple[float, ...] = (1.0, 0.5, 1.5)
    thresholds: str = "0:1:.02"
    resamples: int = 1000
    head: HeadRecipe = HeadRecipe()
    limit: int = 0
    block: int = 32
    checked: int = 1
    device: str = "cpu"
    crf: bool = False
    painted: tuple[int, int] = (6, 2)
    recipe: DemoRecipe = DemoRecipe(epochs=30, batch_size=4, longest=64, crop=48)


# -- the parts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """Photos under a classifier.

    Attributes:
        title: Of the photos.
        classifier: Of the classifier.
        study: Both.
        names: Of the values of a mask, background first.
        rows: That are counted.
        values: Of a label in the masks, where it is not the label + 1.
        facts: What is known of the classifier, JSON values.
    """

    title: str
    classifier: str
    study: Study
    names: tuple[str, ...]
    rows: tuple[Row, ...] = ROWS
    values: Mapping[int, int] | None = None
    facts: Mapping[str, Any] | None = None

    def value(self, label: int) -> int:
        """Return the value of a label in the masks."""
        return self.values[label] if self.values else label + 1

    @property
    def classes(self) -> tuple[int, ...]:
        """The values of a mask that the mean is over."""
        return tuple(map(self.names.index, self.study.mean_over or self.names))


def _given(name: str, settings: Settings, folder: Path) -> Part:
    title, study = real_study(name, folder, seeds=settings.seeds, scales=settings.scales, limit=settings.limit)
    rows = ROWS if name == SWITCHED else tuple(row for row in ROWS if row.base not in SWITCHES)
    return Part(title, "given classifier", study, _names(study.train), rows)


def _probe(name: str, settings: Settings, folder: Path) -> Part:
    """Return the photos of a yardstick with class weights fitted to the frozen ImageNet network."""
    given, out, said = _given(name, settings, folder), folder / "probe.pth", folder / "probe.json"
    if not (out.exists() and said.exists()):
        frozen: dict[str, Any] = {"arch": ARCH, "weights": _imagenet(), "stride": 16, "recipe": settings.head}
        report = train_head(given.study.train, out, **frozen, device=settings.device, overwrite=True)
        write_json(said, {"l2": report.l2, "map": report.map, "photos": report.images})
    study = replace(given.study, classifier=ClassifierSource(ARCH, out, stride=16))
    facts = read_json(said, repair=f"remove {folder}")
    rows = tuple(row for row in ROWS if row.base not in SWITCHES and row.post in POSTS_OF_ONE_CLASS)
    return Part(given.title, "linear probe", study, given.names, rows, facts=facts)


def _animal(name: str, settings: Settings, folder: Path) -> Part:
    """Return the photos of one animal, labelled with ImageNet's class of it and nothing else."""
    label = ANIMALS[name]
    given = _given("real_voc_animals", settings, folder).study
    known = _names(given.train)
    names = folder / "classes.txt"
    names.write_text("".join(f"imagenet {index}\n" for index in range(IMAGENET_CLASSES)), encoding="utf-8")
    sources = {
        split: _only(source, split, known.index(name) - 1, label, names, folder)
        for split, source in given.sources.items()
    }
    study = Study(
        folder, sources, ClassifierSource(ARCH, _imagenet(), stride=16), given.seeds, given.scales, mean_over=(name,)
    )
    rows = tuple(row for row in ROWS if row.base in OF_ONE_CLASS and row.post in POSTS_OF_ONE_CLASS)
    return Part(
        f"VOC animals, {name} alone", "ImageNet's class weights", study, known, rows, {label: known.index(name)}
    )


def _only(source: DataSource, split: str, animal: int, label: int, names: Path, folder: Path) -> DataSource:
    photos = [photo.name for photo in source.open().photos if animal in photo.labels]
    listed, labels = folder / f"{split}-of-one.txt", folder / f"{split}-of-one.csv"
    listed.write_text("".join(f"{photo}\n" for photo in photos), encoding="utf-8")
    labels.write_text("name,classes\n" + "".join(f"{photo},{label}\n" for photo in photos), encoding="utf-8")
    return replace(source, split=str(listed), labels=labels, classes=names)


def _names(source: DataSource) -> tuple[str, ...]:
    return ("background", *source.open().classes)


def _imagenet() -> Path:
    return real_data() / "weights" / IMAGENET


def _demo(settings: Settings, folder: Path) -> Part:
    folder.mkdir(parents=True, exist_ok=True)
    rows = tuple(row for row in ROWS if row.post in POSTS_OF_ONE_CLASS or row == Row("cam", "walk-20"))
    painted = demo_study(0, folder, painted=settings.painted, recipe=settings.recipe, scales=settings.scales)
    return Part("demo data set", "demo classifier", replace(painted, seeds=settings.seeds), _names(painted.train), rows)


PARTS: dict[str, Callable[[Settings, Path], Part]] = {
    **{f"given-{name}": partial(_given, name) for name in YARDSTICKS},
    **{f"probe-{name}": partial(_probe, name) for name in YARDSTICKS},
    **{f"imagenet-{name}": partial(_animal, name) for name in ANIMALS},
}
ALL_PARTS = {**PARTS, DEMO: _demo}
DRY = Settings(
    parts=(DEMO,),
    seeds=(0, 1),
    scales=(1.0, 0.5),
    thresholds="0:1:.1",
    resamples=20,
    head=HeadRecipe(l2=0.01),
    limit=4,
    block=2,
)


# -- maps and counts ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ready:
    """A part whose methods can be used.

    Attributes:
        part: What it is of.
        forward: Classifier and scales.
        methods: By base and seed.
    """

    part: Part
    forward: Forward
    methods: dict[tuple[str, int], Method]

    def shared(self) -> Ready:
        """Return the same with all IS-CAMs as members of one `benchmarks.together.Together`."""
        named = {f"{base} {seed}": method for (base, seed), method in self.methods.items()}
        return replace(self, methods=dict(zip(self.methods, together(named).values(), strict=True)))


def prepare(part: Part, settings: Settings) -> Ready:
    """Extract features, cluster with every seed, and make all methods; what is there is used again."""
    study, device = part.study, settings.device
    extract(study, device)
    basis = read_basis(study.workspace)
    net = study.classifier.load(len(basis.classes), device)
    methods = {}
    for key in dict.fromkeys(row.base for row in part.rows):
        base = BASES[key]
        for seed in base.seeds(study.seeds):
            _clustered(study, base, seed, device)
            files = study.prototypes(seed, base.clustering), study.support(seed)
            vectors = study.discriminants(base.clustering)
            means = Means(net, basis.features, *files, vectors, base.settings)
            methods[key, seed] = make_method(base.method, means)
    return Ready(part, Forward(net, study.scales), methods)


def _clustered(study: Study, base: Base, seed: int, device: str) -> None:
    profile = CLUSTERINGS[base.clustering]
    if base.method == "pacam":
        support_once(study, seed, device)
    elif isinstance(profile, FisherProfile):
        discriminants_once(study, base.clustering, profile, device)
    elif base.seeded:
        cluster_once(study, seed, base.clustering, profile, device)


@torch.inference_mode()
def maps_of(ready: Ready, loaded: Loaded) -> dict[str, ActivationMaps]:
    """Return the maps of one photo under every run of every row, from one forward pass."""
    labels = loaded.photos[0].labels
    views: dict[tuple[str, int], list[Tensor]] = {key: [] for key in ready.methods}
    scenes: dict[str, Scene] = {}
    for index, (seen,) in enumerate(ready.forward.seen(loaded, levels=range(len(ready.forward.scales)))):
        if index == ready.forward.nearest:
            levels, pixels = [mirror_added(level) for level in seen.levels], ready.forward.pixels(loaded, 0)
            posts = dict.fromkeys(row.post for row in ready.part.rows)
            scenes = {post: POSTS[post].propagation.scene(levels, pixels) for post in posts}
        for key, method in ready.methods.items():  # in here, because a `Together` remembers one scale
            views[key].append(method.view_maps(seen, labels))
    found: dict[str, ActivationMaps] = {}
    for post, scene in scenes.items():
        bases = [row.base for row in ready.part.rows if row.post == post]
        keys = [key for key in ready.methods if key[0] in bases]
        epsilons = [ready.methods[key].epsilon for key in keys]
        merged = _merged(POSTS[post].propagation, [views[key] for key in keys], epsilons, labels, loaded.size, scene)
        found |= {f"{Row(base, post).key} {seed}": maps for (base, seed), maps in zip(keys, merged, strict=True)}
    return found


def _merged(
    propagation: Propagation,
    runs: Sequence[Sequence[Tensor]],
    epsilons: Sequence[float],
    labels: tuple[int, ...],
    size: tuple[int, int],
    scene: Scene,
) -> list[ActivationMaps]:
    """Merge the maps of R runs, one [K, h, w] a scale each, and propagate them.

    Walk and PAMR do the same with every map, whatever the others: they are given the maps of all runs at once, so that
    affinities and weights are made once.
    """
    if not propagation or propagation.edges == "crf" or not labels:
        each = zip(runs, epsilons, strict=True)
        return [propagation.merge(maps, labels, size, epsilon, scene) for maps, epsilon in each]
    at_once = [torch.cat(of_scale) for of_scale in zip(*runs, strict=True)]
    walk = propagation.walk and WalkOfRuns(**vars(propagation.walk), alone=propagation.walk, runs=len(runs))
    merged = replace(propagation, walk=walk).merge(at_once, tuple(range(len(at_once[0]))), size, 0.0, scene)
    strided, high_res = (maps.chunk(len(runs)) for maps in (merged.strided, merged.high_res))
    return [ActivationMaps(labels, *pair) for pair in zip(strided, high_res, strict=True)]


def count(ready: Ready, split: str, settings: Settings, folder: Path) -> Counts:
    """Count the maps of every row, block by block; blocks that were counted before are read.

    Raises:
        LpcamError: a photo cannot be read.
    """
    found = []
    for index, block in enumerate(parts(ready.part.study.sources[split].open(), settings.block, settings.block)):
        path = folder / f"counts-{split}-{index}.safetensors"
        if not path.exists():
            started, before = time.perf_counter(), ready.forward.seconds
            _counted(ready, block, settings).save(path)
            seconds, forwards = time.perf_counter() - started, ready.forward.seconds - before
            a_photo = f"{seconds / len(block.photos):.2f} s a photo, forwards {forwards / len(block.photos):.2f}"
            print(f"{folder.name}, {split}: {len(block.photos)} more photos are counted, {a_photo}", flush=True)
        found.append(Counts.load(path))
    return Counts.joined(found)


def _counted(ready: Ready, block: DataSplit, settings: Settings) -> Counts:
    thresholds, photos = parse_thresholds(settings.thresholds), [(photo,) for photo in block.photos]
    each = load_ahead(ready.forward.load, photos, 1)
    return Counts.joined([_of_photo(ready, _whole(loaded), thresholds) for loaded in each])


def _of_photo(ready: Ready, loaded: Loaded, thresholds: Sequence[float]) -> Counts:
    photo = loaded.photos[0]
    values = [ready.part.value(label) for label in photo.labels]
    return count_photo(maps_of(ready, loaded), read_mask(photo), values, thresholds, photo.name)


def _whole(loaded: Any) -> Loaded:
    if not isinstance(loaded, Loaded):
        raise LpcamError(f"{loaded.name} failed ({loaded.reason}): repair the photo")
    return loaded


def difference(ready: Ready, settings: Settings) -> float:
    """Return the largest difference of the first photos' maps to those that `lpcam.generate` makes, row by row."""
    photos = ready.part.study.train.open().photos[: settings.checked]
    return max(_of_maps(ready, _whole(ready.forward.load([photo]))) for photo in photos)


def _of_maps(ready: Ready, loaded: Loaded) -> float:
    ours = maps_of(ready, loaded)
    found = 0.0
    for post in dict.fromkeys(row.post for row in ready.part.rows):
        names = {row.base: row.key for row in ready.part.rows if row.post == post}
        methods = {f"{names[base]} {seed}": of for (base, seed), of in ready.methods.items() if base in names}
        theirs = activation_maps(ready.forward, loaded, methods, propagation=POSTS[post].propagation)
        found = max(
            found, *(float((ours[name].high_res - maps.high_res).abs().max()) for name, (maps,) in theirs.items())
        )
    return found


# -- scores ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A run of a row on a split, at the thresholds of the protocol.

    Attributes:
        counts: float64 [3, P, K+1], see `Table.at`.
        thresholds: Of even and odd photos.
        best: The highest mIoU that one threshold reaches on these very photos, and that threshold.
    """

    counts: Tensor
    thresholds: tuple[float, float]
    best: tuple[float, float]

    def numbers(self, classes: Sequence[int]) -> dict[str, Any]:
        """Return the scores of all photos together and of the halves, by measure."""
        hits, predicted, truth = self.counts.sum(dim=1)
        even = is_even(self.counts.shape[1])
        halves = [mean_over(iou(self.counts[:, half].sum(dim=1)), classes) for half in (even, ~even)]
        means = {"miou": iou(self.counts.sum(dim=1)), "precision": hits / predicted, "recall": hits / truth}
        return {
            **{measure: _number(mean_over(values, classes)) for measure, values in means.items()},
            "halves": [_number(value) for value in halves],
            "thresholds": list(self.thresholds),
            "best": dict(zip(("miou", "threshold"), self.best, strict=True)),
        }


def runs_of(part: Part, counts: Mapping[str, Counts], split: str, thresholds: Sequence[float]) -> dict[str, Run]:
    """Return every run on a split, at thresholds that were chosen on other photos."""
    first, number, found = next(iter(counts)), len(part.names) - 1, {}
    for name in counts[split].rows:
        table = counts[split].table(name, number)
        chosen = table.thresholds(part.classes, None if split == first else counts[first].table(name, number))
        curve, best = table.curve(part.classes), table.best(part.classes)
        even, odd = (thresholds[index] for index in chosen)
        found[name] = Run(table.at(chosen), (even, odd), (float(curve[best]), thresholds[best]))
    return found


def summary(part: Part, runs: Mapping[str, Run], settings: Settings) -> dict[str, Any]:
    """Return every row of a split: its scores, and its difference to plain LPCAM with the interval."""
    images = next(iter(runs.values())).counts.shape[1]
    weights = draws(images, settings.resamples, seed=0)
    of_rows = {row: [runs[name] for name in row.runs(part.study.seeds)] for row in part.rows}
    drawn = {row: resampled([run.counts for run in found], weights, part.classes) for row, found in of_rows.items()}
    rows = {row: _row(part, row, found) for row, found in of_rows.items()}
    plain = max((row for row in part.rows if row.key in PLAIN), key=lambda row: float(rows[row]["miou"]))
    for row, found in rows.items():
        found["over_plain"] = {
            "miou": found["miou"] - rows[plain]["miou"],
            "interval": list(interval(drawn[row] - drawn[plain])),
            "worst_class": _worst(found["per_class"], rows[plain]["per_class"]),
        }
    return {"images": images, "plain": plain.key, "rows": {row.key: found for row, found in rows.items()}}


def _row(part: Part, row: Row, runs: Sequence[Run]) -> dict[str, Any]:
    numbers = [run.numbers(part.classes) for run in runs]
    each = torch.stack([iou(run.counts.sum(dim=1)) for run in runs]).mean(dim=0)[list(part.classes)].tolist()
    names = [part.names[index] for index in part.classes]
    per_class = {name: round(value, 6) for name, value in zip(names, each, strict=True) if not math.isnan(value)}
    return {
        "title": BASES[row.base].title,
        "post": POSTS[row.post].title,
        **over_runs(numbers),
        "per_class": per_class,
        "runs": numbers,
    }


def _worst(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, Any]:
    """Return the class that loses most, or gains least."""
    gains = {name: ours[name] - value for name, value in theirs.items() if name in ours}
    name = min(gains, key=gains.__getitem__)
    return {"name": name, "iou": gains[name]}


def _number(value: Tensor) -> float | None:
    return None if bool(value.isnan()) else float(value)


# -- the run -----------------------------------------------------------------------------------------


def run(settings: Settings, folder: Path, *, count_only: bool = False) -> Findings:
    """Score every row on every part.

    Args:
        settings: What is run.
        folder: For features, prototypes and counts; what is there is used again. A part has a folder of its own in it,
            so that several processes may do several parts at once.
        count_only: Whether nothing is scored: another call does.

    Raises:
        LpcamError: a part's folder is of a run with other settings or another commit.
    """
    found: dict[str, Any] = {}
    checks: list[Check] = []
    for name in settings.parts:
        own = folder / name
        claim(own, replace(settings, parts=(name,)))
        part = ALL_PARTS[name](settings, own)
        if settings.crf:
            part = replace(part, rows=(*part.rows, *(row for row in EVERY if row not in ROWS)))
        counts, differs = _counts(part, settings, own)
        if count_only:
            continue
        found[name] = _scores(part, counts, settings)
        checks += _claims(name, found[name])
        title = f"{part.title}, {part.classifier}"
        checks.append(
            Check(f"{title}: largest difference of a map to generate's", differs, 1e-3, "at most", equality=True)
        )
    return Findings({"parts": found}, tuple(checks))


def _counts(part: Part, settings: Settings, folder: Path) -> tuple[dict[str, Counts], float]:
    """Return the counts by split, and the largest difference of the maps that were checked."""
    ready, path = prepare(part, settings), folder / "difference.json"
    if not path.exists():
        write_json(path, {"maps": difference(ready, settings)})
    shared = ready.shared()
    counts = {split: count(shared, split, settings, folder) for split in part.study.sources}
    return counts, float(read_json(path, repair=f"remove {path}")["maps"])


def _scores(part: Part, counts: Mapping[str, Counts], settings: Settings) -> dict[str, Any]:
    thresholds = parse_thresholds(settings.thresholds)
    return {
        "title": part.title,
        "classifier": part.classifier,
        "one_class": bool(part.values),
        "facts": dict(part.facts or {}),
        "splits": {split: summary(part, runs_of(part, counts, split, thresholds), settings) for split in counts},
    }


def _claims(name: str, found: Mapping[str, Any]) -> list[Check]:
    """Return what LPCAM with walk and PAMR is to gain over plain LPCAM, and what no class is to lose."""
    least = LEAST.get(name, 0.0)
    checks = []
    for split, of_split in found["splits"].items():
        for key in (f"{base}+walk-pamr" for base in PLAIN):
            over, title = (
                of_split["rows"][key]["over_plain"],
                f"{found['title']}, {split}, {found['classifier']}: {key}",
            )
            checks.append(Check(f"{title} over plain LPCAM", over["miou"], least, "at least"))
            if name in LEAST:
                worst = over["worst_class"]
                checks.append(Check(f"{title}, worst class {worst['name']}", worst["iou"], -0.01, "at least"))
    return checks


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return the settings that the command line asks for.

    Raises:
        LpcamError: a part is unknown.
    """
    for name in arguments.part or ():
        if name not in ALL_PARTS:
            raise unknown("part", name, ALL_PARTS)
    settings = DRY if arguments.dry_run else Settings(parts=tuple(PARTS))
    scales = tuple(float(scale) for scale in arguments.scales.split(",")) if arguments.scales else settings.scales
    limit = arguments.limit or settings.limit
    return replace(
        settings, parts=tuple(arguments.part or settings.parts), scales=scales, limit=limit, crf=arguments.crf
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Be the command line."""
    options = parser(__doc__ or "")
    options.add_argument("--part", action="append", help=f"{', '.join(ALL_PARTS)} (default all but {DEMO})")
    options.add_argument("--scales", default="", help="of the views (default 1,.5,1.5)")
    options.add_argument("--limit", type=int, default=0, help="photos a split (default all)")
    options.add_argument("--crf", action="store_true", help="rows with the dense CRF too: seconds a photo")
    options.add_argument("--count", action="store_true", help="only count; a call without it scores")
    options.add_argument("--folder", type=Path, default=None, help="keep what was done here (default temporary)")
    arguments = options.parse_args(argv)
    before, settings = environment(), settings_of(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        findings = run(settings, arguments.folder or Path(temporary), count_only=arguments.count)
    if not arguments.count:
        conclude("ablation", before, settings, findings, arguments)


if __name__ == "__main__":
    main()
