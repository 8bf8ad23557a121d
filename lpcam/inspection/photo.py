"""What methods see in one photo: from the seeds of a workspace, or made now with its classifier and prototypes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lpcam.corridor.basis import Basis, read_basis
from lpcam.corridor.methods import Means, MethodSettings, make_method
from lpcam.datasets import read_mask, read_photo
from lpcam.errors import LpcamError, unknown
from lpcam.files import read_json, write_atomically
from lpcam.forward import Forward, resolve_device
from lpcam.generate import activation_maps
from lpcam.inspection.findings import Facts, Findings
from lpcam.records import ActivationMaps, Failure, Photo
from lpcam.refiners import DEFAULT_REFINER, get_reader
from lpcam.report import pictures
from lpcam.report.seeds import UNSCORED
from lpcam.workspace import Workspace

DEFAULT_THRESHOLD = UNSCORED
"""Of the seeds that are drawn, where nothing was evaluated."""
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class PhotoMaps:
    """The maps of one photo under some methods.

    Attributes:
        photo: The photo and its classes.
        classes: Class names by index.
        maps: By method.
        made: By method whether the maps were made now and are not those of the workspace's seeds.
        thresholds: By method the threshold of the seed that is drawn.
    """

    photo: Photo
    classes: tuple[str, ...]
    maps: dict[str, ActivationMaps]
    made: dict[str, bool]
    thresholds: dict[str, float]

    def findings(self) -> Findings:
        """Return the maps in numbers: a row a method and class."""
        rows = tuple(row for method, maps in self.maps.items() for row in self._rows(method, maps))
        doubts = [f"the map of {row['class']} by {row['method']} is zero everywhere" for row in rows if not row["peak"]]
        if not self.photo.labels:
            doubts.append("the photo has no class, so there are no maps")
        facts = {
            "name": self.photo.name,
            "classes": [self.classes[label] for label in self.photo.labels],
            "true_mask": self.photo.mask is not None,
        }
        return Findings("photo", self.photo.path, facts, rows, tuple(doubts))

    def _rows(self, method: str, maps: ActivationMaps) -> list[Facts]:
        seed, threshold = self.seed(method), self.thresholds[method]
        return [
            {
                "method": method,
                "class": self.classes[label],
                "peak": round(float(plane.max()), 4),
                "mean": round(float(plane.mean()), 4),
                "seed_share": round(float((seed == label + 1).mean()), 4),
                "threshold": threshold,
                "maps": "made now" if self.made[method] else "the workspace's seeds",
            }
            for label, plane in zip(maps.labels, maps.high_res, strict=True)
        ]

    def seed(self, method: str) -> Pixels:
        """Return the seed mask of a method at its threshold: uint8 [H, W]."""
        maps = self.maps[method]
        return pictures.seed(maps.high_res.numpy(), maps.labels, self.thresholds[method])


def maps_of_photo(
    workspace: Workspace,
    path: Path,
    *,
    methods: Sequence[str] = ("lpcam",),
    refiner: str = DEFAULT_REFINER,
    classes: Sequence[str] = (),
    threshold: float | None = None,
    device: str = "auto",
) -> PhotoMaps:
    """Return the maps of one photo.

    The workspace's seeds are read where they are there; else the maps are made with its classifier, prototypes and
    scales.

    Args:
        workspace: Of the run.
        path: The photo, of the workspace's data set or any other.
        methods: Names of methods.
        refiner: Family of the seeds that may be there.
        classes: Names of the classes that are looked for; by default those that the data set says the photo has.
        threshold: Of the seed that is drawn; by default the best one of the method's evaluation, else 0.3.
        device: Where maps are made.

    Raises:
        LpcamError: the photo cannot be read or its classes are not known, the workspace has no prototypes, or an option
            cannot be used.
    """
    basis = read_basis(workspace)
    photo = _photo(basis, path, classes)
    maps: dict[str, ActivationMaps] = {}
    if not classes:
        maps = {name: found for name in methods if (found := _of_seeds(workspace, name, refiner, photo)) is not None}
    missing = [name for name in methods if name not in maps]
    if missing:
        maps |= _made(workspace, basis, photo, missing, device)
    return PhotoMaps(
        photo,
        basis.classes,
        {name: maps[name] for name in methods},
        {name: name in missing for name in methods},
        {name: _threshold(workspace, name) if threshold is None else threshold for name in methods},
    )


def write_overlay(path: Path, found: PhotoMaps) -> None:
    """Write `overlay` as a PNG, whole or not at all.

    Raises:
        LpcamError: the file cannot be written, or its name does not end in .png.
    """
    if path.suffix.lower() != ".png":
        raise LpcamError(f"{path} is to be a picture: give --out a name that ends in .png")
    image = overlay(found)
    write_atomically(path, lambda partial: image.save(partial, format="PNG"))


def overlay(found: PhotoMaps, *, cell: int = 320) -> Image.Image:
    """Draw a row a method: the photo, the map of every class with its name, the seed, and the truth if there is one.

    Args:
        found: The maps.
        cell: Width of a tile, px.
    """
    pixels = read_photo(found.photo.path)
    truth = None if found.photo.mask is None else read_mask(found.photo, len(found.classes))
    names = [found.classes[label] for label in found.photo.labels]
    rows, captions = [], []
    for method, maps in found.maps.items():
        heats = [
            pictures.heat_tile(pixels, plane, name, cell)
            for name, plane in zip(names, maps.high_res.numpy(), strict=True)
        ]
        seed = pictures.mask_tile(pixels, found.seed(method), found.classes, cell)
        rows.append([pictures.photo_tile(pixels, cell), *heats, seed])
        captions.append([method, *(f"{method}: {name}" for name in names), f"above {found.thresholds[method]:.2f}"])
    columns = ["photo", *names, "seed"]
    if truth is not None:
        columns.append("truth")
        tile = pictures.mask_tile(pixels, truth, found.classes, cell)
        rows = [[*row, tile] for row in rows]
        captions = [[*line, ""] for line in captions]
    return pictures.grid(rows, columns, captions, found.photo.name, cell)


def _photo(basis: Basis, path: Path, classes: Sequence[str]) -> Photo:
    """Return the photo with its classes: those that were named, else those the data set says it has."""
    read_photo(path)  # a file that is none is refused first
    known = None if basis.data is None else _in_data_set(basis, path)
    if classes:
        labels = tuple(sorted({_index(name, basis.classes) for name in classes}))
        return Photo(path.stem if known is None else known.name, path, labels, None if known is None else known.mask)
    if known is None:
        shown = ", ".join(basis.classes[:3])
        raise LpcamError(
            f"{path} is no photo of the workspace's data set, so its classes are not known: "
            f"name them by --class, such as --class {basis.classes[0]} (there are {shown}, …)"
        )
    return known


def _in_data_set(basis: Basis, path: Path) -> Photo | None:
    if basis.data is None:
        return None
    own = path.resolve()
    return next((photo for photo in basis.data.open().photos if photo.path.resolve() == own), None)


def _index(name: str, classes: Sequence[str]) -> int:
    if name not in classes:
        raise unknown("class", name, classes)
    return classes.index(name)


def _of_seeds(workspace: Workspace, method: str, refiner: str, photo: Photo) -> ActivationMaps | None:
    reader = get_reader(refiner)
    folder = workspace.seeds(method, refiner)
    return reader.read(folder, photo.name) if reader.path(folder, photo.name).is_file() else None


def _made(
    workspace: Workspace, basis: Basis, photo: Photo, methods: Sequence[str], device: str
) -> dict[str, ActivationMaps]:
    net = basis.classifier.load_again(len(basis.classes), resolve_device(device), basis.weights_sha256)
    means = Means.of(workspace, net, basis.features, MethodSettings())
    made: dict[str, Any] = {name: make_method(name, means) for name in methods}
    forward = Forward(net, basis.scales)
    loaded = forward.load([photo])
    if isinstance(loaded, Failure):
        raise LpcamError(loaded.reason)
    return {name: maps[0] for name, maps in activation_maps(forward, loaded, made).items()}


def _threshold(workspace: Workspace, method: str) -> float:
    path = workspace.evaluation(method)
    if not path.is_file():
        return DEFAULT_THRESHOLD
    found = read_json(path, repair="run 'lpcam evaluate' again").get("threshold")
    return float(found) if isinstance(found, (int, float)) else DEFAULT_THRESHOLD
