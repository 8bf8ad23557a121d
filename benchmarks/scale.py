"""The tables of docs/scale.md, worked out from the measured rates: ``python -m benchmarks.scale`` rewrites them.

What a data set is (`SETS`) is an assumption and stands in the page; what lpcam does with it is measured.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from benchmarks.record import RESULTS, ROOT
from benchmarks.tables import markdown, with_tables
from lpcam.profiles import PROFILES

PAGE = ROOT / "docs" / "scale.md"
ARCH, CHANNELS, STRIDE = "resnet50", 2048, 16
HALF, FLOAT = 2, 4  # bytes
_NO_MANY = "Not measured yet: `python -m benchmarks.many`."


@dataclass(frozen=True)
class PhotoSet:
    """A data set on paper.

    Attributes:
        name: As in the page.
        photos: N.
        size: (H, W) of a usual photo.
        labels: Classes a photo shows, on average.
        classes: K.
    """

    name: str
    photos: int
    size: tuple[int, int]
    labels: float
    classes: int

    @property
    def positions(self) -> int:
        """h·w of a photo's feature grid."""
        return math.prod(math.ceil(side / STRIDE) for side in self.size)

    @property
    def feature_bytes(self) -> float:
        """Of a photo in the store: float16 features and the float32 CAM of its classes."""
        return self.positions * (CHANNELS * HALF + self.labels * FLOAT)

    @property
    def seed_bytes(self) -> float:
        """Of a photo's IRN seed: high_res and, at a quarter of each side, cam; float32."""
        return self.labels * math.prod(self.size) * FLOAT * (1 + 1 / 16)


SETS = (
    PhotoSet("VOC 2012 `train_aug`", 10_582, (375, 500), 1.5, 20),
    PhotoSet("COCO 2014 `train`", 82_081, (480, 640), 2.9, 80),
    PhotoSet("OpenImages", 1_700_000, (683, 1024), 3.0, 600),
)


def rates() -> str:
    """Return the table of what was measured and is used below."""
    speed, clustering = _load("generate_speed"), _load("kmeans_speed")
    height, width = speed["settings"]["size"]
    machine = speed["environment"]
    rows = [
        [f"`generate`, {ARCH}, {height}×{width}, {len(speed['settings']['scales'])} scales with mirror", _rate()],
    ]
    settings = clustering["settings"]
    rows += [
        [
            f"k-means, one iteration over {settings['vectors']:,} vectors × {settings['channels']}, K = "
            f"{settings['centres']}",
            f"{_kmeans_seconds():.3f} s",
        ],
        ["`extract-features`, memory beside the classifier, whatever the number of photos", _size(_extract_memory())],
    ]
    return markdown([f"measured on {machine['usable_cores']} cores ({machine['cpu']}), no GPU", ""], rows)


def sizes() -> str:
    """Return the table of disk, by data set."""
    rows = [
        [
            photos.name,
            f"{photos.photos:,}",
            f"{photos.size[0]}×{photos.size[1]}",
            f"{photos.labels:g}",
            _size(photos.photos * photos.feature_bytes),
            _size(photos.photos * photos.seed_bytes),
            f"{math.ceil(photos.photos / 32):,}",
        ]
        for photos in SETS
    ]
    return markdown(
        ["data set", "photos N", "photo", "classes a photo L", "features on disk", "seeds on disk", "shards"], rows
    )


def hours() -> str:
    """Return the table of time: machine-hours of the measured machine, and photos a second for a day's work."""
    rows = []
    for photos in SETS:
        seconds = photos.photos / _images_per_second(photos)
        needed = 2 * photos.photos / 86_400
        machines = math.ceil(2 * seconds / 86_400)
        rows.append([photos.name, f"{seconds / 3600:,.0f}", f"{machines:,}", f"{needed:.2g}"])
    return markdown(
        [
            "data set",
            "machine-hours a pass",
            "such machines for both in a day",
            "photos a second through the backbone for both in a day",
        ],
        rows,
    )


def clustering() -> str:
    """Return the table of stage 2 under the ``coco`` profile: time, memory and what is read."""
    profile = PROFILES["coco"]
    rows = []
    for photos in SETS:
        vectors = profile.images_per_class * photos.positions
        settings = _load("kmeans_speed")["settings"]
        a_vector = _kmeans_seconds() / settings["vectors"] * profile.k / settings["centres"]
        seconds = a_vector * vectors * profile.iterations * photos.classes
        read = 2 * profile.images_per_class * photos.classes * photos.feature_bytes
        largest = photos.photos * photos.labels / photos.classes * photos.positions * CHANNELS * FLOAT
        rows.append(
            [
                photos.name,
                f"{seconds / 3600:.1f}",
                _size(vectors * CHANNELS * FLOAT),
                _size(read),
                _size(largest),
            ]
        )
    return markdown(
        ["data set", "machine-hours, at most", "memory a process, at most", "read", "memory without drawing (`voc`)"],
        rows,
    )


def network() -> str:
    """Return the table of bytes on the network for every photo a second."""
    rows = [[photos.name, _size(photos.feature_bytes), _size(photos.seed_bytes)] for photos in SETS]
    return markdown(["data set", "extract-features writes, a photo", "generate writes, a photo"], rows)


def store_check() -> str:
    """Return how far the formula of the features is from a store that was measured."""
    found = _load("memory")
    settings, run = found["settings"], found["results"]["runs"][-1]
    rows = math.prod(math.ceil(side / STRIDE) for side in settings["size"])
    channels = 1280
    expected = rows * channels * HALF * run["photos"]
    return (
        f"A store of {run['photos']} photos of {settings['size'][0]}×{settings['size'][1]} with {channels} channels "
        f"measured {_size(run['store_bytes'])}; h·w·C·2 gives {_size(expected)} of it, the rest are CAM and headers."
    )


def many() -> str:
    """Return the table of tiny photos through all stages: seconds and peak memory at every number of photos."""
    if not (RESULTS / "many.json").is_file():
        return _NO_MANY
    runs = _load("many")["results"]["runs"]
    rows = [
        [
            f"`{stage}`",
            *(f"{run['stages'][stage]['seconds']:.1f}" for run in runs),
            *(f"{run['stages'][stage]['bytes'] / 2**20:.0f}" for run in runs),
        ]
        for stage in runs[0]["stages"]
    ]
    header = [f"{run['photos']:,} photos: {what}" for what in ("seconds", "peak, MiB") for run in runs]
    return markdown(["stage", *header], rows)


def many_broken() -> str:
    """Return what became of the broken photos among them."""
    if not (RESULTS / "many.json").is_file():
        return _NO_MANY
    found = _load("many")
    run, (height, width) = found["results"]["runs"][-1], found["settings"]["size"]
    photos, broken, wrong = run["photos"], run["broken"], run["misjudged"] + run["misseeded"]
    return (
        f"Of {photos:,} photos of {height}×{width}, {broken:,} were broken and reported as such by both stages that "
        f"read photos, {photos - broken:,} have their seeds, and {wrong} were taken for the other kind."
    )


TABLES = {
    "many": many,
    "many-broken": many_broken,
    "rates": rates,
    "sizes": sizes,
    "hours": hours,
    "clustering": clustering,
    "network": network,
    "store-check": store_check,
}


def _load(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return value


def _measured() -> float:
    return float(_load("generate_speed")["results"][ARCH]["generate"]["float32"]["images_per_second"])


def _images_per_second(photos: PhotoSet) -> float:
    """The measured rate at the data set's photo size: the forwards grow with the pixels."""
    height, width = _load("generate_speed")["settings"]["size"]
    return _measured() * float(height * width) / math.prod(photos.size)


def _rate() -> str:
    return f"{_measured():.3f} photos a second"


def _kmeans_seconds() -> float:
    found = _load("kmeans_speed")["results"]
    return min(float(found[name]["seconds_per_iteration"]) for name in ("faiss", "torch") if name in found)


def _extract_memory() -> float:
    return max(float(run["extract_bytes"]) for run in _load("memory")["results"]["runs"])


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), TABLES), encoding="utf-8")
