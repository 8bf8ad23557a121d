"""Small photos with masks, seeds whose scores are known on paper, and one page for all who look at it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

from lpcam.demo import DemoResult, run_demo
from lpcam.locks import file_lock, locked
from lpcam.records import ActivationMaps, Photo
from lpcam.refiners import get_refiner
from lpcam.report.seeds import Seeds
from lpcam.training.demo import DemoRecipe

CLASSES = ("cow", "train")
PHOTOS = 16  # of the demo


def square_photo(folder: Path, name: str, *, label: int, rows: int, side: int = 8) -> Photo:
    """Write a black photo whose first rows are truly of a class."""
    truth = np.zeros((side, side), np.uint8)
    truth[:rows] = label + 1
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(folder / f"{name}.jpg")
    Image.fromarray(truth).save(folder / f"{name}.png")
    return Photo(name, folder / f"{name}.jpg", (label,), folder / f"{name}.png")


def seeds_of(folder: Path, title: str, rows: dict[str, int], *, label: int = 0, side: int = 8) -> Seeds:
    """Write seeds, 1 in the first rows of a photo and 0 below."""
    refiner = get_refiner("irn")
    (folder / title).mkdir(exist_ok=True)
    for name, count in rows.items():
        high = torch.zeros(1, side, side)
        high[:, :count] = 1.0
        refiner.write(folder / title, name, ActivationMaps((label,), high[:, ::4, ::4].contiguous(), high))
    return Seeds(title, folder / title, refiner)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    """A run of the demo on a few photos, with a classifier that has learnt little; all test processes look at one."""
    own = tmp_path_factory.getbasetemp()
    root = own.parent / "report" if "PYTEST_XDIST_WORKER" in os.environ else own / "report"
    kept = root / "result.pickle"
    with locked(file_lock(kept)):
        if not kept.exists():
            result = run_demo(root / "demo", seed=1, train=PHOTOS, val=2, recipe=DemoRecipe(epochs=10))
            kept.write_bytes(pickle.dumps(result))
        return cast("DemoResult", pickle.loads(kept.read_bytes()))
