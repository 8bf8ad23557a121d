"""Ten thousand tiny photos through all stages: is time linear, memory flat, and is every photo accounted for?

A folder data set of coloured shapes on noise, with labels and masks, and a small network trained on a few of them. One
photo in a hundred is broken: cut off, empty, no image at all, or gone when it is to be read although it was listed.
Every stage runs in a process of its own, and its peak memory is how far it rises above what the libraries take. What
may grow is said by the documents: clustering by the float32 vectors of one side of one class.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.isolated import in_new_process, peak_growth
from benchmarks.record import Check, Findings, conclude, environment, parser
from lpcam import corridor
from lpcam.backbones.demo import build
from lpcam.records import DataSplit, Execution, StageReport
from lpcam.report.whole import write_report
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import FeatureStore
from lpcam.training.checkpoint import save_classifier
from lpcam.training.demo import DemoRecipe, train_demo_classifier
from lpcam.workspace import Workspace

CLASSES = {"disc": (230, 60, 50), "square": (60, 190, 70), "triangle": (60, 90, 230)}
BROKEN = ("truncated", "empty", "text", "vanished")
"""The ways in which a photo is broken; its name ends with one."""
METHODS = ("cam", "lpcam")
EVERY = 100


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        images: Numbers of photos, rising.
        size: (H, W) of each.
        every: One photo in so many is broken.
        taught: Photos that the network is trained on; they are others.
        epochs: Of its training.
    """

    images: tuple[int, ...] = (2500, 5000, 10_000)
    size: tuple[int, int] = (48, 64)
    every: int = EVERY
    taught: int = 240
    epochs: int = 12


DRY = Settings(images=(20, 40), every=10, taught=16, epochs=1)


def run(settings: Settings) -> Findings:
    """Send every number of photos through all stages."""
    with tempfile.TemporaryDirectory() as folder:
        teach(Path(folder), settings)
        rows = [_of_count(count, settings, Path(folder)) for count in settings.images]
    pixels = 3 * settings.size[0] * settings.size[1]
    first, last = rows[0], rows[-1]
    checks = [
        Check("broken photos not reported, or whole ones reported", _sum(rows, "misjudged"), 0, "at most", True),
        Check("whole photos without a seed, or broken ones with one", _sum(rows, "misseeded"), 0, "at most", True),
    ]
    for stage in STAGES:
        ratio = _a_photo(last, stage) / _a_photo(first, stage)
        title = f"{stage}: seconds a photo at {last['photos']:,} photos over those at {first['photos']:,}"
        checks.append(Check(title, ratio, 1.25, "at most"))
    for stage in STAGES:
        grown = (_beyond(last, stage) - _beyond(first, stage)) / (last["photos"] - first["photos"])
        title = f"{stage}: growth of the peak a photo, share of a photo's pixels"
        checks.append(Check(title, grown / pixels, 1.0, "at most"))
    return Findings({"runs": rows}, tuple(checks))


def teach(root: Path, settings: Settings) -> None:
    """Write ``{root}/net.pth``, the demo's network trained on whole photos of their own."""
    paint(root / "taught", settings.taught, size=settings.size, every=None, seed=1)
    recipe = DemoRecipe(epochs=settings.epochs, longest=max(settings.size), crop=min(settings.size))
    split = source(root / "taught").open()
    save_classifier(root / "net.pth", train_demo_classifier(build("demo"), split, recipe=recipe, seed=0, device="cpu"))


def paint(
    root: Path, count: int, *, size: tuple[int, int] = Settings.size, every: int | None = EVERY, seed: int = 0
) -> set[str]:
    """Write photos, masks and a table of labels; a photo shows a shape of one class, every third of another too.

    Args:
        root: Folder to be made.
        count: Number of photos.
        size: (H, W) of each.
        every: One photo in so many is broken; None breaks none.
        seed: Of all of it.

    Returns:
        The names of the broken photos.
    """
    photos, masks = root / "photos", root / "masks"
    for folder in (photos, masks):
        folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    rows, broken = ["name,classes"], set()
    for index in range(count):
        kind = BROKEN[index // every % len(BROKEN)] if every and index % every == every // 2 else None
        name = f"{index:06d}_{kind}" if kind else f"{index:06d}"
        labels = sorted({index % len(CLASSES), (index if index % 3 else index + 1) % len(CLASSES)})
        photo, mask = _scene(random, size, labels)
        photo.save(photos / f"{name}.jpg", quality=90)
        mask.save(masks / f"{name}.png")
        rows.append(f"{name},{';'.join(list(CLASSES)[label] for label in labels)}")
        if kind:
            broken.add(name)
            _break(photos / f"{name}.jpg", kind)
    (photos / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    return broken


def source(root: Path) -> DataSource:
    """Return the data set that `paint` wrote."""
    return DataSource("folder", root / "photos", "all", classes=root / "classes.txt")


class Vanishing(DataSource):
    """A data set some of whose photos are gone as soon as it was listed."""

    def open(self) -> DataSplit:
        """Read names and labels, then hide the photos that vanish."""
        return hidden(super().open())


def hidden(split: DataSplit) -> DataSplit:
    """Return the split, with those of its photos hidden that vanish."""
    for photo in split.photos:
        if photo.name.endswith("vanished"):
            photo.path.rename(photo.path.with_suffix(".gone"))
    return split


@contextmanager
def vanishing(root: Path) -> Iterator[DataSource]:
    """Lend the data set of `paint` with photos that vanish; at the end they are there again."""
    try:
        yield Vanishing(**vars(source(root)))
    finally:
        for path in (root / "photos").glob("*.gone"):
            path.rename(path.with_suffix(".jpg"))


def stage_peak(root: str, name: str) -> dict[str, Any]:
    """Carry out a stage in the workspace of a data set.

    Args:
        root: As `paint` made it, with the network's weights in the folder around it.
        name: Of the stage.

    Returns:
        Its seconds, those of processors (neighbours on the machine lengthen the first, and hardly the second), by how
        many bytes it raises this process's peak memory, and the photos it reports as failed.
    """
    reports: list[Any] = []
    started, used = time.perf_counter(), time.process_time()
    growth = peak_growth(lambda: reports.append(STAGES[name](Path(root))))
    took = {"seconds": time.perf_counter() - started, "processor_seconds": time.process_time() - used}
    (report,) = reports
    failures = report.failures if isinstance(report, StageReport) else ()
    failed = sorted(failure.name for failure in failures)
    return {**took, "bytes": growth, "failed": failed}


def _extract(root: Path) -> object:
    classifier = ClassifierSource("demo", root.parent / "net.pth")
    with vanishing(root) as data:
        return corridor.extract_features(Workspace(root / "work"), data, classifier, execution=_CPU)


def _cluster(root: Path) -> object:
    return corridor.cluster(Workspace(root / "work"), device="cpu")


def _generate(root: Path) -> object:
    with vanishing(root) as data:
        return corridor.generate(Workspace(root / "work"), methods=METHODS, data=data, execution=_CPU)


def _evaluate(root: Path) -> object:
    return [corridor.evaluate(Workspace(root / "work"), method=method) for method in METHODS]


def _report(root: Path) -> object:
    return write_report(Workspace(root / "work"))


_CPU = Execution(device="cpu")
STAGES: dict[str, Callable[[Path], object]] = {
    "extract-features": _extract,
    "cluster": _cluster,
    "generate": _generate,
    "evaluate": _evaluate,
    "report": _report,
}


def _of_count(count: int, settings: Settings, folder: Path) -> dict[str, Any]:
    root = folder / str(count)
    broken = paint(root, count, size=settings.size, every=settings.every)
    stages = {name: in_new_process(stage_peak, root=str(root), name=name) for name in STAGES}
    reported = [stages[name].pop("failed") for name in STAGES]
    misjudged = sum(len(broken ^ set(failed)) for failed in (reported[0], reported[2]))
    whole = {path.stem for path in (root / "photos").glob("*.jpg")} - broken
    workspace = Workspace(root / "work")
    seeded = [{path.stem for path in workspace.seeds(method, "irn").glob("*.npy")} for method in METHODS]
    return {
        "photos": count,
        "broken": len(broken),
        "misjudged": misjudged,
        "misseeded": sum(len(whole ^ names) for names in seeded),
        "side_bytes": _largest_side(workspace),
        "stages": stages,
    }


def _largest_side(workspace: Workspace) -> int:
    """Return the bytes of the float32 vectors of all photos that show the commonest class: no side is larger."""
    store = FeatureStore(workspace.features)
    counts = np.zeros(len(CLASSES), dtype=int)
    for photo in store.photos:
        counts[list(photo.labels)] += photo.grid[0] * photo.grid[1]
    return int(counts.max()) * store.manifest.description.channels * 4


def _scene(random: np.random.Generator, size: tuple[int, int], labels: list[int]) -> tuple[Image.Image, Image.Image]:
    """Return noise with a shape of every label, and their mask."""
    height, width = size
    photo = Image.fromarray(random.integers(0, 120, (height, width, 3), dtype=np.uint8))
    mask = Image.new("L", (width, height))
    share = width // len(labels)
    for place, label in enumerate(labels):
        side = int(random.integers(height // 3, min(share, height) * 3 // 4))
        left = place * share + int(random.integers(0, share - side))
        top = int(random.integers(0, height - side))
        colour = list(CLASSES.values())[label]
        _draw(ImageDraw.Draw(photo), label, (left, top, left + side, top + side), colour)
        _draw(ImageDraw.Draw(mask), label, (left, top, left + side, top + side), label + 1)
    return photo, mask


def _draw(
    canvas: ImageDraw.ImageDraw, label: int, box: tuple[int, int, int, int], fill: int | tuple[int, int, int]
) -> None:
    left, top, right, bottom = box
    if label == 0:
        canvas.ellipse(box, fill=fill)
    elif label == 1:
        canvas.rectangle(box, fill=fill)
    else:
        canvas.polygon([(left, bottom), (right, bottom), ((left + right) // 2, top)], fill=fill)


def _break(path: Path, kind: str) -> None:
    """Break a photo in a way; one that vanishes is whole until then."""
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_bytes(b"<html>404 Not Found</html>\n")


def _sum(rows: list[dict[str, Any]], key: str) -> float:
    return float(sum(row[key] for row in rows))


def _a_photo(row: dict[str, Any], stage: str) -> float:
    return float(row["stages"][stage]["seconds"]) / float(row["photos"])


def _beyond(row: dict[str, Any], stage: str) -> float:
    """Return the peak of a stage, less what it may hold."""
    return float(row["stages"][stage]["bytes"]) - float(row["side_bytes"] if stage == "cluster" else 0)


def main() -> None:
    """Be the command line."""
    arguments_of = parser(__doc__ or "")
    arguments_of.add_argument("--images", type=int, default=None, help="the largest number of photos")
    arguments = arguments_of.parse_args()
    settings = DRY if arguments.dry_run else Settings()
    if arguments.images is not None:
        settings = replace(settings, images=(arguments.images // 4, arguments.images // 2, arguments.images))
    before = environment()
    conclude("many", before, settings, run(settings), arguments)


if __name__ == "__main__":
    main()
