"""What several test files share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpcam.backbones.demo import build
from lpcam.engines.placement import usable_cores
from lpcam.sources import ClassifierSource, DataSource

os.environ.pop("COLUMNS", None)  # of the terminal that the tests were started from

REAL_DATA = Path(os.environ.get("LPCAM_REAL_DATA", Path(__file__).parents[2] / "shared"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, since many tests wait for processes of their own; a few gigabytes hold four."""
    return min(4, 1 + usable_cores())


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave all that was imported out of every later search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _needs_a_gpu(request: pytest.FixtureRequest) -> None:
    """Skip what is marked ``gpu`` where there is none."""
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture
def real_data() -> Path:
    """The folder of the real photos, the trained classifier and the golden maps."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"{REAL_DATA} is not there: set LPCAM_REAL_DATA to run the tests on real photos")
    return REAL_DATA


@pytest.fixture(autouse=True)
def _two_threads():
    """Leave the machine to the other tests that may run beside these."""
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture
def voc_root(tmp_path: Path) -> Path:
    """A VOC-like tree: six noise photos of different sizes, two classes, masks, labels in a CSV."""
    return make_voc(tmp_path / "data", [(48, 64), (64, 48), (48, 64), (33, 57), (48, 64), (50, 50)])


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-class checkpoint of the demo's small network, random but the same in every session."""
    path = tmp_path_factory.mktemp("weights") / "demo.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = build("demo").network.state_dict()
        biases = {name: torch.rand_like(tensor) for name, tensor in state.items() if name.endswith(".bias")}
        channels = list(biases.values())[-1].shape[0]
        state = {**state, **biases, "fc.weight": torch.rand(2, channels) - 0.4}
    torch.save(state, path)
    return path


@pytest.fixture
def classifier(checkpoint: Path) -> ClassifierSource:
    """The classifier of that checkpoint."""
    return ClassifierSource("demo", checkpoint)


@pytest.fixture
def data(voc_root: Path) -> DataSource:
    """The split of the VOC-like tree."""
    return DataSource("voc", voc_root, labels=voc_root / "labels.csv", classes=voc_root / "classes.txt")


@pytest.fixture(scope="session")
def two_ray_cpus() -> Iterator[None]:
    """Ray on this machine, with two CPUs; its workers import this tree."""
    ray = pytest.importorskip("ray")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100_000_000,
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parents[1])}},
    )
    yield
    ray.shutdown()


def make_voc(root: Path, sizes: list[tuple[int, int]], seed: int = 0) -> Path:
    """Write a VOC-like tree with the classes ``sheep`` and ``train``; photo i shows class i % 2, every third both."""
    random = np.random.default_rng(seed)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rows, names = ["name,classes"], []
    for index, (height, width) in enumerate(sizes):
        name = f"2007_{index:06d}"
        labels = [0, 1] if index % 3 == 2 else [index % 2]
        pixels = random.integers(0, 255, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((width, height)).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        mask = np.zeros((height, width), dtype=np.uint8)
        for place, label in enumerate(labels):
            mask[height // 4 : height // 2, place * width // 2 : (place + 1) * width // 2] = label + 1
        Image.fromarray(mask).save(root / "SegmentationClass" / f"{name}.png")
        rows.append(f"{name},{';'.join(('sheep', 'train')[label] for label in labels)}")
        names.append(name)
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(names) + "\n")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    (root / "classes.txt").write_text("sheep\ntrain\n")
    return root
