"""The planned run: what it will write, against what is free, and the memory that its largest photo needs.

Photos are read as far as their size goes, and of a long list only so many; seeds are written in the refiner's own
format to see how large they are. The network is built without weights and computes shapes alone.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from lpcam.doctor.diagnosis import BROKEN, DOUBTFUL, OK, Diagnosis, imported, in_bytes
from lpcam.doctor.disk import free_bytes
from lpcam.doctor.machine import memory_bytes
from lpcam.errors import LpcamError
from lpcam.records import DataSplit, Photo
from lpcam.workspace import Workspace

if TYPE_CHECKING:
    from lpcam.corridor.basis import Basis
    from lpcam.sources import DataSource

_NEEDED = ("numpy", "PIL", "safetensors", "torch")
_MOST_HEADERS = 2000
_NEARLY_FULL = 0.9
_HOST = "memory"  # in messages, where others name their GPU
_FLOAT = 4  # bytes
_HELD = 2.5
"""Memory of a forward pass over what goes into and out of its widest layer: skip connections and work space are held
beside it. Measured on CPUs; tests/test_doctor.py holds three networks to it."""


@dataclass(frozen=True)
class Planned:
    """What somebody means to run.

    Attributes:
        workspace: Where.
        data: Returns the photos, so that nothing is imported before; those of the workspace's features when None.
        split: Another split of these; None for their own.
        arch: Architecture; that of the workspace's features when None.
        stride: Output stride; None for the architecture's default.
        scales: Of the views; None for the workspace's, or the published ones.
        dtype: Of the stored features; None for the workspace's, or the default.
        methods: Whose seeds are written; the default one when empty.
        refiner: Family whose format they have; None for the default.
    """

    workspace: Workspace
    data: Callable[[], DataSource] | None = None
    split: str | None = None
    arch: str | None = None
    stride: int | None = None
    scales: tuple[float, ...] | None = None
    dtype: str | None = None
    methods: tuple[str, ...] = ()
    refiner: str | None = None


@dataclass(frozen=True)
class Photos:
    """The photos of a run, as far as their headers tell.

    Attributes:
        count: N.
        looked_at: How many headers were read, at most `_MOST_HEADERS`.
        sized: Those that could be, with their (H, W).
        unreadable: Names of the others.
    """

    count: int
    looked_at: int
    sized: list[tuple[Photo, tuple[int, int]]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def weight(self) -> float:
        """How many photos of the run one that was read stands for."""
        return self.count / self.looked_at

    @property
    def largest(self) -> tuple[Photo, tuple[int, int]]:
        """The one of most pixels."""
        return max(self.sized, key=lambda entry: math.prod(entry[1]))


def of_plan(planned: Planned) -> Iterator[Diagnosis]:
    """Say what a run will take; nothing where nobody says of which photos."""
    missing = [module for module in _NEEDED if imported(module)[0] is None]
    if missing:
        if planned.data is not None:
            yield Diagnosis("planned run", DOUBTFUL, f"its size cannot be told without {missing[0]}", "see above")
        return
    try:
        basis = _basis(planned.workspace)
        given = planned.data() if planned.data else (basis.data if basis else None)
        if given is None:
            return
        source = given.with_split(planned.split)
        photos = _look_at(source.open())
        if not photos.sized:
            raise LpcamError(f"no photo of {source.root} can be read: check --root and --split")
        yield _photos(photos)
        yield _sizes(planned, basis, photos)
        yield from _largest(planned, basis, photos)
    except LpcamError as error:
        found, _, advice = str(error).rpartition(": ")
        yield Diagnosis("planned run", BROKEN, found or str(error), advice if found else "")


def feature_bytes(arch: str, stride: int | None, dtype: str, photos: Photos) -> float:
    """Return the bytes of the features of photos: for every position C values, and one of the CAM of each class.

    Raises:
        LpcamError: architecture, stride or dtype do not exist.
    """
    from lpcam.errors import unknown
    from lpcam.store import DTYPES

    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    network = _network(arch, stride)
    a_value = DTYPES[dtype].itemsize
    positions = {size: math.prod(network.grid(size)) for size in {size for _, size in photos.sized}}
    each = (positions[size] * (network.channels * a_value + len(photo.labels) * _FLOAT) for photo, size in photos.sized)
    return photos.weight * sum(each)


def seed_bytes(refiner: str, photos: Photos) -> float:
    """Return the bytes of a method's seeds: of one photo with one class and with two, scaled by classes and pixels.

    Raises:
        LpcamError: there is no such family.
    """
    of_pixels = median(math.prod(size) for _, size in photos.sized)
    photo, size = min(photos.sized, key=lambda entry: abs(math.prod(entry[1]) - of_pixels))
    one, two = (_seed_size(refiner, photo.name, size, classes) for classes in (1, 2))
    a_pixel, a_file = (two - one) / math.prod(size), max(0, 2 * one - two)
    return photos.weight * sum(a_file + a_pixel * len(photo.labels) * math.prod(size) for photo, size in photos.sized)


def forward_bytes(arch: str, stride: int | None, scales: Sequence[float], size: tuple[int, int], classes: int) -> int:
    """Return about how much memory a photo needs: its views, twice, the network at the largest of them, its maps.

    Raises:
        LpcamError: architecture or stride do not exist.
    """
    network = _network(arch, stride)
    views = sum(3 * _FLOAT * math.prod(network.view(size, scale)) for scale in scales)
    maps = (len(scales) + 2) * classes * math.prod(size) * _FLOAT
    return round(2 * views + _HELD * network.widest(network.view(size, max(scales))) + maps)


def network_bytes(arch: str, stride: int | None, *, fused: bool) -> int:
    """Return about how much memory a network takes before it sees a photo: its weights, and those of its fused form.

    Args:
        arch: Architecture.
        stride: Output stride; None for the architecture's default.
        fused: Whether it is carried out fused: a convolution's weights are there once more then, or, where they are
            transformed for Winograd's products, four times.

    Raises:
        LpcamError: architecture or stride do not exist.
    """
    from torch import nn

    from lpcam.runtime.winograd import applies

    stages = nn.ModuleList(_network(arch, stride).stages)
    floats = sum(tensor.numel() for tensor in (*stages.parameters(), *stages.buffers()))
    if fused:
        convolutions = [module for module in stages.modules() if type(module) is nn.Conv2d]
        floats += sum(conv.weight.numel() * (4 if applies(conv) else 1) for conv in convolutions)
    return floats * _FLOAT


def _basis(workspace: Workspace) -> Basis | None:
    from lpcam.corridor.basis import read_basis
    from lpcam.store import MANIFEST

    there = (workspace.features / MANIFEST).exists() or workspace.imported.is_file()
    return read_basis(workspace) if there else None


def _look_at(split: DataSplit) -> Photos:
    from lpcam.datasets import photo_size

    count = len(split.photos)
    looked = split.photos if count <= _MOST_HEADERS else _evenly(split.photos, _MOST_HEADERS)
    photos = Photos(count, len(looked))
    for photo in looked:
        try:
            photos.sized.append((photo, photo_size(photo.path)))
        except LpcamError:
            photos.unreadable.append(photo.name)
    return photos


def _evenly(photos: Sequence[Photo], count: int) -> list[Photo]:
    return [photos[index * len(photos) // count] for index in range(count)]


def _photos(photos: Photos) -> Diagnosis:
    height, width = photos.largest[1]
    facts = {"photos": photos.count, "looked_at": photos.looked_at, "unreadable": photos.unreadable}
    some = f", {photos.looked_at:,} of them looked at" if photos.looked_at < photos.count else ""
    found = f"{photos.count:,}{some}, the largest {height}×{width}"
    if not photos.unreadable:
        return Diagnosis("photos", OK, found, facts=facts)
    names = ", ".join(photos.unreadable[:3]) + (", …" if len(photos.unreadable) > 3 else "")
    found += f"; {len(photos.unreadable):,} cannot be read ({names})"
    return Diagnosis(
        "photos", DOUBTFUL, found, "replace them or take them off the list; the others will be done", facts
    )


def _sizes(planned: Planned, basis: Basis | None, photos: Photos) -> Diagnosis:
    """Hold what is still to be written against what is free."""
    from lpcam.corridor.methods import DEFAULT_METHOD
    from lpcam.extract import DEFAULT_DTYPE
    from lpcam.refiners import DEFAULT_REFINER

    workspace, refiner = planned.workspace, planned.refiner or DEFAULT_REFINER
    methods = planned.methods or (DEFAULT_METHOD,)
    parts: dict[str, float] = {}
    if planned.arch is not None:
        parts["features"] = feature_bytes(planned.arch, planned.stride, planned.dtype or DEFAULT_DTYPE, photos)
    a_method = seed_bytes(refiner, photos)
    parts |= {f"seeds of {method} for {refiner}": a_method for method in methods}
    places = {"features": workspace.features}
    places |= {f"seeds of {method} for {refiner}": workspace.seeds(method, refiner) for method in methods}
    there = {name: min(parts[name], _bytes_in(places[name])) for name in parts}
    left, (free, files) = sum(parts.values()) - sum(there.values()), free_bytes(workspace.root)
    facts: dict[str, Any] = {
        "bytes": {name: round(size) for name, size in parts.items()},
        "there_bytes": {name: round(size) for name, size in there.items()},
        "left_bytes": round(left),
        "free_bytes": free,
    }
    said = ", ".join(
        f"{name} {in_bytes(size)}" + (f" ({in_bytes(there[name])} there)" if there[name] else "")
        for name, size in parts.items()
    )
    unsaid = "" if "features" in parts or basis else "; features not counted, name the network by --arch"
    found = f"{said}{unsaid}; {in_bytes(left)} to be written, {in_bytes(free)} free"
    advice = "free space, choose another --workspace, or a smaller --split; 'lpcam run --no-dump' writes no features"
    if left > free:
        return Diagnosis("planned run", BROKEN, found, advice, facts)
    if files is not None and len(methods) * photos.count > files:
        found += f"; {len(methods) * photos.count:,} files to be made, {files:,} can be"
        return Diagnosis("planned run", BROKEN, found, "choose a --workspace on another file system", facts)
    state = DOUBTFUL if left > _NEARLY_FULL * free else OK
    return Diagnosis("planned run", state, found, advice if state != OK else "", facts)


def _largest(planned: Planned, basis: Basis | None, photos: Photos) -> Iterator[Diagnosis]:
    """Hold the memory of the largest photo against what is free where the network computes."""
    from lpcam.views import PUBLISHED_SCALES, check_scales

    arch = planned.arch or (basis.classifier.arch if basis else None)
    if arch is None:
        return
    stride = planned.stride if planned.arch or not basis else basis.classifier.stride
    scales = check_scales(planned.scales or (basis.scales if basis else PUBLISHED_SCALES))
    photo, size = photos.largest
    free, where = _free_memory()
    network = network_bytes(arch, stride, fused=where == _HOST)
    needed = network + forward_bytes(arch, stride, scales, size, max(1, len(photo.labels)))
    facts: dict[str, Any] = {"photo": photo.name, "size": list(size)}
    facts |= {"network_bytes": network, "needed_bytes": needed, "free_bytes": free}
    found = (
        f"{photo.name}, {size[0]}×{size[1]}, needs about {in_bytes(needed)} at scale {max(scales):g}, "
        f"{in_bytes(network)} of it the network"
    )
    if free is None:
        yield Diagnosis("largest photo", OK, found, facts=facts)
        return
    found += f"; {in_bytes(free)} are free of {where}"
    advice = (
        "leave out the largest of --scales, or scale the photo down; what does not fit is reported, the rest is done"
    )
    state = DOUBTFUL if needed > _NEARLY_FULL * free else OK
    yield Diagnosis("largest photo", state, found, advice if state != OK else "", facts)


def _free_memory() -> tuple[int | None, str]:
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0]), torch.cuda.get_device_name()
    return memory_bytes()[1], _HOST


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) if folder.is_dir() else 0


def _seed_size(refiner: str, name: str, size: tuple[int, int], classes: int) -> int:
    """Return the bytes of a seed of noise, which nothing makes smaller."""
    import torch

    from lpcam.records import ActivationMaps
    from lpcam.refiners import get_refiner
    from lpcam.views import strided_size

    family = get_refiner(refiner)
    strided, high_res = (torch.rand(classes, *shape) for shape in (strided_size(size), size))
    with tempfile.TemporaryDirectory() as folder:
        family.write(Path(folder), name, ActivationMaps(tuple(range(classes)), strided, high_res))
        return _bytes_in(Path(folder))


@cache
def _network(arch: str, stride: int | None) -> _Network:
    return _Network(arch, stride)


class _Network:
    """An architecture without weights: shapes alone."""

    def __init__(self, arch: str, stride: int | None) -> None:
        from lpcam.backbones.classifier import stages_up_to
        from lpcam.backbones.loading import untrained

        blueprint, self.channels = untrained(arch, stride)
        self._minimum_side = blueprint.minimum_side
        self.stages = stages_up_to(blueprint, blueprint.stages[-1])

    def view(self, size: tuple[int, int], scale: float) -> tuple[int, int]:
        """Return the size of a photo at a scale."""
        from lpcam.views import view_size

        return view_size(size, scale, self._minimum_side)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (h, w) of the features of a photo at scale 1."""
        height, width = self._features(self.view(size, 1.0), 1).shape[2:]
        return height, width

    def widest(self, size: tuple[int, int]) -> int:
        """Return the most bytes that go into and come out of one layer, for a view and its mirror."""
        most = [0]

        def count(module: Any, given: Any, made: Any) -> None:
            tensors = [entry for entry in (*given, made) if hasattr(entry, "numel")]
            most[0] = max(most[0], sum(entry.numel() * _FLOAT for entry in tensors))

        layers = [layer for stage in self.stages for layer in stage.modules() if not list(layer.children())]
        hooks = [layer.register_forward_hook(count) for layer in layers]
        try:
            self._features(size, 2)
        finally:
            for hook in hooks:
                hook.remove()
        return most[0]

    def _features(self, size: tuple[int, int], count: int) -> Any:
        import torch

        from lpcam.backbones.levels import features_at

        with torch.inference_mode():
            return features_at((), self.stages, torch.empty(count, 3, *size, device="meta"))[-1]
