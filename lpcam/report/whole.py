"""The report of a workspace: everything a person wants to see of a run, on one page."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lpcam.corridor.basis import photos_of_basis, read_basis
from lpcam.errors import LpcamError
from lpcam.files import sweep, write_atomically
from lpcam.prototypes import Prototypes
from lpcam.records import DataSplit, Photo, Progress, silent
from lpcam.report import gallery, pictures
from lpcam.report.page import Cell, Page, Row, Table, draw_curves, render
from lpcam.report.patches import STRIPS, Cutter
from lpcam.report.seeds import Scored, Seeds, find_seeds, score
from lpcam.report.sights import PLACES, kept, look
from lpcam.report.thumbnails import encoded
from lpcam.sources import DataSource
from lpcam.store import FeatureStore
from lpcam.workspace import Workspace

PHOTOS = 500
MEGABYTES = 10.0

_MILLION = 1_000_000
_PROTOTYPES_SHARE = 0.35
_MOST_LOOKED_THROUGH = 200
_MOST_LISTED = 12


@dataclass(frozen=True)
class ReportResult:
    """What was written.

    Attributes:
        page: The page.
        size: Of it, bytes.
        shown: Photos in its gallery.
        photos: Photos of the split.
        methods: How every method did, left to right.
        seconds: Wall time.
        notices: What failed or is doubtful, a line each.
    """

    page: Path
    size: int
    shown: int
    photos: int
    methods: tuple[Scored, ...]
    seconds: float
    notices: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        methods = {
            method.seeds.title: {
                "miou": method.curve.best.miou if method.curve else None,
                "threshold": method.threshold,
                "seeds": str(method.seeds.folder),
            }
            for method in self.methods
        }
        return {**vars(self), "page": str(self.page), "methods": methods, "notices": list(self.notices)}


def write_report(
    workspace: Workspace,
    *,
    seeds: Mapping[str, Path] | None = None,
    refiner: str | None = None,
    data: DataSource | None = None,
    split: str | None = None,
    photos: int = PHOTOS,
    megabytes: float = MEGABYTES,
    title: str | None = None,
    lead: Sequence[str] = (),
    commands: Sequence[str] = (),
    out: Path | None = None,
    progress: Progress = silent,
) -> ReportResult:
    """Write one self-contained page about a run: summary, gallery, prototypes.

    Every seed is read and scored; at most ``photos`` of them are shown. Pictures shrink until the page fits its size.

    Args:
        workspace: Of the run.
        seeds: More folders of seeds, by title.
        refiner: Family whose seeds are read, where a method has several.
        data: Photos, where they are not those of the features.
        split: Another split of the same data set.
        photos: In the gallery, at most, ≥ 1.
        megabytes: Of the page, at most, in millions of bytes, ≥ 1.
        title: Of the page.
        lead: Its first paragraphs.
        commands: How to make it again, where it is not ``lpcam report``.
        out: The page; ``report/index.html`` in the workspace when None.
        progress: Told as the work goes on.

    Raises:
        LpcamError: there are no seeds, photos, masks or seeds cannot be read or do not fit, or the page cannot be
            written.
    """
    if photos < 1 or megabytes < 1:
        raise LpcamError(f"a page of {photos} photos and {megabytes:g} MB cannot be made: choose 1 or more of both")
    started = time.monotonic()
    found = find_seeds(workspace, seeds or {}, refiner)
    opened = (data or photos_of_basis(workspace)).with_split(split).open()
    with_seeds = _with_seeds(opened, found)
    methods = [score(opened, each, progress) for each in found]
    allowance = int(megabytes * _MILLION * 0.97)
    seen = _Prototypes(workspace, opened)
    sights = seen.draw(int(allowance * _PROTOTYPES_SHARE), progress)
    doubts = (*_doubts(workspace, opened, methods), *seen.doubts)
    shown = gallery.choose(with_seeds, methods, photos)
    page = Page(
        title=title or f"Seeds of {opened.dataset} {opened.split}",
        lead=tuple(lead),
        facts=_facts(workspace, opened),
        doubts=doubts,
        tables=_tables(opened, methods),
        curves=draw_curves(methods),
        gallery_note=_gallery_note(len(shown), len(with_seeds), methods),
        prototypes_note=seen.note,
        commands=tuple(commands) or (f"lpcam report -w {workspace.root}",),
        colophon=_colophon(),
        gallery=_settings(opened, methods),
        prototypes=tuple(sights),
    )
    entries = gallery.draw(opened, shown, methods, allowance - len(render(page)), progress)
    html = render(replace(page, gallery={**page.gallery, "photos": entries}))
    path = out or workspace.root / "report" / "index.html"
    sweep(path.parent)
    write_atomically(path, lambda partial: _write(partial, html))
    size = path.stat().st_size
    return ReportResult(
        path,
        size,
        len(shown),
        len(opened.photos),
        tuple(methods),
        time.monotonic() - started,
        (*doubts, *_too_large(size, megabytes)),
    )


def _with_seeds(split: DataSplit, found: Sequence[Seeds]) -> list[Photo]:
    """Return the photos that have a seed of any method."""
    photos = [photo for photo in split.photos if any(seeds.has(photo) for seeds in found)]
    if not photos:
        raise LpcamError(f"no photo of the split '{split.split}' has a seed: generate them for it, or name its --split")
    return photos


class _Prototypes:
    """The prototypes of a workspace and what they see, as far as they and the features are there."""

    note = (
        "A prototype is the mean of a cluster of local features. Beside each: the positions of the photos of its class "
        "that are nearest to it by cosine, framed, one a photo; z, the classifier's softmax score of it (Eq. 3); how "
        "many features its cluster has; and which prototypes of other classes look like it. A position belongs to the "
        "nearest prototype of its class: the small picture counts where in the bounding boxes of the true objects "
        "these lie, upper left to lower right, dark to light."
    )

    def __init__(self, workspace: Workspace, split: DataSplit) -> None:
        self._photos = {photo.name: photo for photo in split.photos}
        self._made: tuple[FeatureStore, Prototypes] | None = None
        self.doubts: tuple[str, ...] = ()
        if not workspace.prototypes.is_file():
            return
        try:
            prototypes = Prototypes.load(workspace.prototypes)
            self.doubts = _of_classes(prototypes)
            self._made = FeatureStore(workspace.features), prototypes
        except LpcamError as error:
            self.doubts = (*self.doubts, f"the prototypes are not shown: {error}")

    def draw(self, allowance: int, progress: Progress) -> list[dict[str, Any]]:
        """Return what the page knows of every class that has photos and prototypes."""
        if self._made is None:
            return []
        store, prototypes = self._made
        everything, profile = kept(prototypes), prototypes.provenance.profile
        there = {label for photo in store.photos for label in photo.labels}
        labels = [label for label, each in enumerate(everything) if each.names and label in there]
        cutter, entries = Cutter(self._photos), []
        for place, label in enumerate(labels):
            progress("prototypes", place, len(labels))
            sight = look(
                store,
                self._photos,
                everything,
                label,
                tau=profile.tau,
                patches=STRIPS[0].count,
                most=_MOST_LOOKED_THROUGH,
            )
            name = prototypes.provenance.classes[label]
            entries.append(cutter.entry(name, sight, allowance // len(labels)))
        progress("prototypes", len(labels), len(labels))
        return entries


def _of_classes(prototypes: Prototypes) -> tuple[str, ...]:
    """Return which classes have no prototype, and which have one by the fallback only."""
    pairs = list(zip(prototypes.provenance.classes, prototypes.centres, strict=True))
    without = [name for name, centres in pairs if not len(centres.class_prototypes)]
    fallen = [name for name, centres in pairs if centres.fallback]
    lines = []
    if without:
        lines.append(f"without a class prototype, their maps are zero: {_listed(without)}")
    if fallen:
        lines.append(f"no centre passed the filter and the one of the highest z was taken: {_listed(fallen)}")
    return tuple(lines)


def _doubts(workspace: Workspace, split: DataSplit, methods: Sequence[Scored]) -> tuple[str, ...]:
    lines = list(split.notices)
    for failure in workspace.failed():
        lines.append(f"{failure['stage']} failed on {failure['name']}: {failure['reason']}")
    del lines[len(split.notices) + _MOST_LISTED :]
    for method in methods:
        if method.missing:
            lines.append(f"{method.seeds.title}: {method.missing} of {len(split.photos)} photos have no seed")
        if method.empty:
            names = [f"{photo} ({name})" for photo, name in method.empty]
            lines.append(f"{method.seeds.title}: maps that are zero everywhere: {_listed(names)}")
    return tuple(lines)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def _facts(workspace: Workspace, split: DataSplit) -> tuple[tuple[str, str], ...]:
    masks = sum(photo.mask is not None for photo in split.photos)
    return (
        ("Data set", f"{split.dataset}, split {split.split}"),
        ("Photos", f"{len(split.photos):,}, {masks:,} with a mask"),
        ("Classes", str(len(split.classes))),
        *_classifier_facts(workspace),
        *_prototype_facts(workspace),
    )


def _classifier_facts(workspace: Workspace) -> list[tuple[str, str]]:
    try:
        basis = read_basis(workspace)
    except LpcamError:
        return []
    weights = Path(basis.classifier.weights).name
    return [("Classifier", f"{basis.classifier.arch}, {weights} ({basis.weights_sha256[:12]})")]


def _prototype_facts(workspace: Workspace) -> list[tuple[str, str]]:
    if not workspace.prototypes.is_file():
        return []
    made = Prototypes.load(workspace.prototypes).provenance
    profile = made.profile
    return [
        (
            "Prototypes",
            f"K {profile.k}, τ {profile.tau:g}, μ_f {profile.class_threshold:g}, "
            f"μ_b {profile.context_low:g} to {profile.context_high:g}, seed {made.seed}; {made.arch} {made.layer}, "
            f"stride {made.stride}",
        )
    ]


def _made_by(made_by: Mapping[str, Any]) -> str:
    """Return how seeds were made, as far as their folder says."""
    if not made_by:
        return "seeds of unknown making"
    words = [f"scales {', '.join(f'{scale:g}' for scale in made_by.get('scales', ()))}", str(made_by.get("precision"))]
    propagation = made_by.get("propagation", {})
    words += ["walk"] if propagation.get("walk") else []
    words += [propagation["edges"].upper()] if propagation.get("edges") else []
    return f"{'; '.join(words)}; as {made_by.get('refiner')} reads them"


def _tables(split: DataSplit, methods: Sequence[Scored]) -> tuple[Table, ...]:
    caption = (
        "%, at each method's best background threshold on these photos; one confusion over all of them, 255 not "
        "counted; means over the classes that occur, background included."
    )
    if not any(method.curve for method in methods):
        caption = "No photo has a mask: nothing is scored."
    columns = ("method", "mIoU", "precision", "recall", "threshold", "made with")
    strong = list(methods).index(gallery.best_of(methods))
    rows = tuple(Row(method.seeds.title, _means(method)) for method in methods)
    return Table("Seeds", caption, columns, rows, strong), *_class_table(split, methods)


def _means(method: Scored) -> tuple[Cell, ...]:
    made = Cell(_made_by(method.seeds.made_by), words=True)
    if not method.curve:
        return *(Cell("–") for _ in range(4)), made
    best = method.curve.best
    shares = Cell(_percent(best.miou), best.miou), Cell(_percent(best.precision)), Cell(_percent(best.recall))
    return *shares, Cell(f"{best.threshold:.2f}"), made


def _class_table(split: DataSplit, methods: Sequence[Scored]) -> tuple[Table, ...]:
    scored = [(method.seeds.title, method.curve.best.per_class) for method in methods if method.curve]
    rows = [
        Row(name, tuple(Cell(_percent(ious[index]), ious[index]) for _, ious in scored))
        for index, name in enumerate(("background", *split.classes))
        if any(ious[index] is not None for _, ious in scored)
    ]
    columns = ("IoU, %", *(title for title, _ in scored))
    return (Table("Class by class", "At the thresholds above.", columns, tuple(rows)),) if rows else ()


def _settings(split: DataSplit, methods: Sequence[Scored]) -> dict[str, Any]:
    """Return what the gallery knows beside the photos."""
    return {
        "classes": list(split.classes),
        "colours": [list(pictures.colour_of(index)) for index in range(pictures.COLOURS)],
        "heat": encoded(pictures.heat_colours().tobytes()),
        "places": PLACES,
        "best": list(methods).index(gallery.best_of(methods)),
        "methods": [
            {
                "title": method.seeds.title,
                "place": method.column,
                "confusion": None if method.confusion is None else method.confusion.tolist(),
            }
            for method in methods
        ],
        "photos": [],
    }


def _gallery_note(shown: int, photos: int, methods: Sequence[Scored]) -> str:
    which = f"All {photos} photos with seeds." if shown == photos else f"{shown} of the {photos} photos with seeds: "
    if shown < photos and gallery.best_of(methods).curve:
        which += (
            f"a quarter are those where {gallery.best_of(methods).seeds.title} gains most over "
            f"{methods[0].seeds.title}, a quarter those where it gains least, and the rest lie evenly between."
        )
    elif shown < photos:
        which += "taken evenly."
    return f"{which} Pictures are thumbnails; the IoU beside them is counted from the seed files at that threshold."


def _too_large(size: int, megabytes: float) -> tuple[str, ...]:
    if size <= megabytes * _MILLION:
        return ()
    return (f"the page has {size / _MILLION:.1f} MB, more than {megabytes:g}: show fewer photos with --photos",)


def _colophon() -> str:
    import lpcam

    return f"lpcam {lpcam.__version__}. This page holds everything it shows and loads nothing."


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
