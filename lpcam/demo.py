"""The demo: the whole corridor on painted scenes, from photos to a page one can look at, in about two minutes.

Nothing is mocked: a classifier is trained on image-level labels, then the stages of `lpcam.corridor` run as the
commands run them. The masks are read by the evaluation and the pictures only.
"""

from __future__ import annotations

import io
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lpcam import corridor
from lpcam.backbones.demo import build
from lpcam.corridor import EvaluationReport, MethodSettings
from lpcam.datasets import read_mask, read_photo
from lpcam.datasets.demo import TRAIN_PHOTOS, VAL_PHOTOS, write_demo
from lpcam.files import write_atomically
from lpcam.forward import resolve_device
from lpcam.profiles import Profile
from lpcam.propagation import Propagation
from lpcam.records import DataSplit, Execution, Progress, silent
from lpcam.report import pictures
from lpcam.report.examples import Gain, choose, measure
from lpcam.report.seeds import Scored, map_of
from lpcam.report.whole import write_report
from lpcam.sources import ClassifierSource, DataSource
from lpcam.training.checkpoint import save_classifier
from lpcam.training.demo import DemoRecipe, train_demo_classifier
from lpcam.workspace import Workspace

BASELINE, METHOD = "cam", "lpcam"
TITLES = {BASELINE: "CAM", "class-prototypes": "class prototypes only", METHOD: "LPCAM"}
"""Methods in the order of the table, and how a person reads them."""
SETTLED = f"{METHOD} --pamr"
"""The last line of the table: the same maps, settled on the photo's edges."""

_REFINER = "irn"
_OVERVIEW_BYTES = 300_000


@dataclass(frozen=True)
class MethodRow:
    """A line of the final table; every number is a fraction in 0..1.

    Attributes:
        method: As ``--method`` takes it, and what follows it.
        title: As a person reads it.
        miou: mIoU of the training photos' seeds at the best threshold, background included.
        precision: At that threshold, mean over the classes and the background.
        recall: Likewise.
        threshold: The best one on the training photos.
        per_class: IoU by class name, background first; None where a class does not occur.
        held_out_miou: mIoU of the held-out photos' seeds at the same threshold.
    """

    method: str
    title: str
    miou: float
    precision: float | None
    recall: float | None
    threshold: float
    per_class: dict[str, float | None]
    held_out_miou: float


@dataclass(frozen=True)
class DemoResult:
    """What the demo found, and where it lies.

    Attributes:
        rows: CAM, class prototypes only, LPCAM, and LPCAM settled on edges.
        prototypes: For every class how many class and context prototypes were kept, and whether it fell back.
        page: The page of pictures.
        overview: One picture for a README.
        data: The painted data set.
        weights: The trained classifier.
        workspace: Features, prototypes, seeds and scores.
        seconds: Wall time by stage.
    """

    rows: tuple[MethodRow, ...]
    prototypes: dict[str, dict[str, int | bool]]
    page: Path
    overview: Path
    data: Path
    weights: Path
    workspace: Path
    seconds: dict[str, float]

    @property
    def columns(self) -> tuple[str, ...]:
        """Headings of the table."""
        return _columns(self.rows)

    @property
    def cells(self) -> tuple[tuple[str, ...], ...]:
        """The table as text: percentages with one decimal."""
        return tuple(_cells(row) for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        paths = {name: str(getattr(self, name)) for name in ("page", "overview", "data", "weights", "workspace")}
        methods = [asdict(row) for row in self.rows]
        return {"methods": methods, "prototypes": self.prototypes, "seconds": self.seconds, **paths}


@dataclass(frozen=True)
class DemoData:
    """What the stages of the demo start from.

    Attributes:
        data: The painted data set, a VOC tree; ``DataSource("demo", data)`` opens it.
        weights: The trained classifier, of the architecture ``demo``.
        seconds: Wall time by step.
    """

    data: Path
    weights: Path
    seconds: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {"data": str(self.data), "weights": str(self.weights), "seconds": self.seconds}


def prepare_demo(
    out: Path,
    *,
    seed: int = 0,
    train: int = TRAIN_PHOTOS,
    val: int = VAL_PHOTOS,
    recipe: DemoRecipe = DemoRecipe(),
    device: str = "cpu",
    progress: Progress = silent,
) -> DemoData:
    """Paint the photos and train the classifier, and leave the stages to the caller; see `run_demo`.

    Raises:
        LpcamError: the folder cannot be written to, or there are too few photos.
    """
    watch, data, weights = _Watch(), out / "data", out / "classifier.pth"
    write_demo(data, seed=seed, train=train, val=val, progress=progress)
    watch.lap("paint")
    split = DataSource("demo", data, "train").open()
    state = train_demo_classifier(
        build("demo"), split, recipe=recipe, seed=seed, device=resolve_device(device), progress=progress
    )
    save_classifier(weights, state)
    watch.lap("train")
    return DemoData(data, weights, watch.seconds)


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    train: int = TRAIN_PHOTOS,
    val: int = VAL_PHOTOS,
    recipe: DemoRecipe = DemoRecipe(),
    profile: Profile = Profile(),
    device: str = "cpu",
    progress: Progress = silent,
) -> DemoResult:
    """Paint, train, extract, cluster, generate, evaluate, show.

    Args:
        out: Folder of the demo; ``data/``, ``classifier.pth``, ``work/`` and ``report/`` in it are replaced.
        seed: Of the scenes, the training and the clustering.
        train: Number of training photos; prototypes come from these, and the table is about their seeds.
        val: Number of held-out photos.
        recipe: How the classifier is trained.
        profile: Hyper-parameters of LPCAM; the published ones for VOC.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``; numbers of another device differ a little.
        progress: Told of every stage.

    Raises:
        LpcamError: the folder cannot be written to, OpenCV is missing, or there are too few photos.
    """
    device = resolve_device(device)
    prepared = prepare_demo(out, seed=seed, train=train, val=val, recipe=recipe, device=device, progress=progress)
    watch, workspace = _Watch(), Workspace(out / "work")
    source, classifier = DataSource("demo", prepared.data, "train"), ClassifierSource("demo", prepared.weights)
    execution = Execution(device)
    corridor.extract_features(workspace, source, classifier, execution=execution, overwrite=True, progress=progress)
    watch.lap("extract-features")
    clustered = corridor.cluster(
        workspace, profile=profile, seed=seed, device=device, overwrite=True, progress=progress
    )
    watch.lap("cluster")
    settled = _settled_seeds(workspace)
    for split_name in ("train", "val"):
        made: dict[str, Any] = {"split": split_name, "execution": execution, "progress": progress}
        made["overwrite"] = split_name == "train"
        corridor.generate(workspace, methods=tuple(TITLES), **made)
        corridor.generate(workspace, methods=(METHOD,), settings=_ON_EDGES, out=settled, **made)
    watch.lap("generate")
    last = _evaluate(workspace, METHOD, progress, settled)
    rows = (*(_evaluate(workspace, method, progress) for method in TITLES), last)
    watch.lap("evaluate")
    page, overview = _show(out / "report", workspace, source.open(), rows, seed, progress)
    watch.lap("report")
    seconds = {**prepared.seconds, **watch.seconds}
    return DemoResult(rows, clustered.classes, page, overview, prepared.data, prepared.weights, workspace.root, seconds)


class _Watch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self._last = round(now - self._last, 2), now


_ON_EDGES = MethodSettings(propagation=Propagation(edges="pamr"))


def _settled_seeds(workspace: Workspace) -> Path:
    return workspace.root / "seeds-on-edges" / METHOD / _REFINER


def _evaluate(workspace: Workspace, method: str, progress: Progress, settled: Path | None = None) -> MethodRow:
    shared: dict[str, Any] = {"method": method, "seeds": settled, "progress": progress}
    held_out = corridor.evaluate(workspace, split="val", **shared)
    report = corridor.evaluate(workspace, **shared)  # last: its file is the one that stays
    best = report.curve.best
    return MethodRow(
        SETTLED if settled else method,
        f"{TITLES[method]}, PAMR" if settled else TITLES[method],
        best.miou,
        best.precision,
        best.recall,
        best.threshold,
        dict(zip(report.names, best.per_class, strict=True)),
        _miou_at(held_out, best.threshold),
    )


def _miou_at(report: EvaluationReport, threshold: float) -> float:
    return min(report.curve.scores, key=lambda score: abs(score.threshold - threshold)).miou


def _columns(rows: tuple[MethodRow, ...]) -> tuple[str, ...]:
    return ("method", "mIoU", "precision", "recall", "threshold", "held-out mIoU", *rows[0].per_class)


def _cells(row: MethodRow) -> tuple[str, ...]:
    return (
        row.title,
        _percent(row.miou),
        _percent(row.precision),
        _percent(row.recall),
        f"{row.threshold:.2f}",
        _percent(row.held_out_miou),
        *(_percent(value) for value in row.per_class.values()),
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


# -- the page ----------------------------------------------------------------------------------------


def _show(
    folder: Path, workspace: Workspace, split: DataSplit, rows: tuple[MethodRow, ...], seed: int, progress: Progress
) -> tuple[Path, Path]:
    """Write the page and the overview."""
    by_method = {row.method: row for row in rows}
    result = write_report(
        workspace,
        seeds={by_method[SETTLED].title: _settled_seeds(workspace)},
        title="What CAM lights, and what LPCAM covers",
        lead=_lead(by_method),
        commands=("lpcam demo" + (f" --seed {seed}" if seed else ""),),
        out=folder / "index.html",
        progress=progress,
    )
    overview = folder / "overview.png"
    _write_overview(overview, split, result.methods)
    return result.page, overview


def _lead(rows: dict[str, MethodRow]) -> tuple[str, ...]:
    cam, lpcam, settled = (_percent(rows[method].miou) for method in (BASELINE, METHOD, SETTLED))
    return (
        "A small classifier was trained on painted scenes with nothing but the names of what is in them. Its class "
        "activation maps (CAM) light the parts that tell the classes apart, such as heads; LPCAM clusters the same "
        "network's features into prototypes, keeps those that belong to the class, and finds the rest of the object.",
        f"Nothing is trained for it. Seed mIoU: CAM {cam} %, LPCAM {lpcam} %, and {settled} % once PAMR has settled "
        "its maps on the edges of the photos, which are painted by lpcam; exact masks serve scores and pictures only.",
    )


def _write_overview(path: Path, split: DataSplit, methods: tuple[Scored, ...]) -> None:
    """Draw the largest gains of LPCAM over CAM, a usual one and the worst: photo, truth, maps and seeds."""
    by_title = {method.seeds.title: method for method in methods}
    before, after = by_title[TITLES[BASELINE]], by_title[TITLES[METHOD]]
    chosen = choose(measure(split, before, after), split.classes)
    gains = [*chosen["best"][:3], *chosen["median"][:1], *chosen["worst"][:1]]
    if not gains:
        return
    means = [100 * method.curve.best.miou for method in (before, after) if method.curve]
    title = "Seed mIoU: CAM {:.1f} %, LPCAM {:.1f} %".format(*means)
    columns = [
        "Photo",
        "Truth",
        *(f"{method.seeds.title}{what}" for what in ("", " seed") for method in (before, after)),
    ]
    tiles = [_tiles(gain, split, (before, after)) for gain in gains]
    captions = [["", "", "", "", *_scores(gain, split.classes[gain.label])] for gain in gains]
    picture = _small_png(pictures.grid(tiles, columns, captions, title))
    write_atomically(path, lambda partial: _write_bytes(partial, picture))


def _tiles(gain: Gain, split: DataSplit, methods: tuple[Scored, ...]) -> list[np.ndarray]:
    """Draw one photo: photo, truth, the maps of both methods, the seeds of both."""
    photo, name = read_photo(gain.photo.path), split.classes[gain.label]
    found = [method.seeds.refiner.read(method.seeds.folder, gain.photo.name) for method in methods]
    seeds = [
        pictures.seed(maps.high_res.numpy(), maps.labels, method.threshold)
        for maps, method in zip(found, methods, strict=True)
    ]
    return [
        pictures.photo_tile(photo),
        pictures.mask_tile(photo, read_mask(gain.photo), split.classes),
        *(pictures.heat_tile(photo, map_of(maps, gain.label).numpy(), name) for maps in found),
        *(pictures.mask_tile(photo, mask, split.classes) for mask in seeds),
    ]


def _scores(gain: Gain, name: str) -> list[str]:
    return [f"{name}: IoU {100 * score:.0f} %" for score in (gain.before, gain.after)]


def _small_png(sheet: Image.Image) -> bytes:
    """Return a PNG of at most 300 kB where a palette of 32 colours or more allows it."""
    picture = b""
    for colours in (200, 128, 64, 32):
        buffer = io.BytesIO()
        sheet.quantize(colours, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
        picture = buffer.getvalue()
        if len(picture) <= _OVERVIEW_BYTES:
            break
    return picture


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
