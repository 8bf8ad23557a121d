"""docs/coverage.md: every architecture with the checkpoints it reads, times every refiner; every cell is a test here.

A row's checkpoints are loaded under their repository's names in the test that docs/backbones.md names. A cell sends a
photo through a network of the row's architecture (initial weights), and has the refiner's own reader read the maps.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch

from lpcam.backbones.families import FAMILIES, Family
from lpcam.backbones.loading import load_trunk
from lpcam.methods.lpcam import Lpcam, fold
from lpcam.records import ActivationMaps, ViewFeatures
from lpcam.refiners import REFINERS, get_refiner
from lpcam.views import merge_scales
from tests.refiners.readers import READERS
from tests.test_backbones_page import TESTS

PAGE = Path(__file__).parents[1] / "docs/coverage.md"
START, END = "<!-- coverage -->\n", "<!-- /coverage -->\n"
SIZE, LABELS = (64, 96), (0, 2)


@lru_cache(maxsize=1)  # the cells of a row follow one another
def maps_of(arch: str) -> ActivationMaps:
    """LPCAM's maps of a noise photo and its mirror, with the photo's longest features as prototypes."""
    if arch.startswith("timm/"):
        pytest.importorskip("timm", reason="needs the timm extra")
    trunk = load_trunk(arch, None).train(arch == "demo")  # whose features are zero under untrained statistics
    image = 5 * torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = trunk(torch.cat([image, image.flip(-1)]))
    assert features.shape[1] == trunk.channels
    rows = features[0].flatten(1).T
    longest = rows[rows.norm(dim=1).argsort(descending=True)]
    folded = torch.stack([fold(longest[index : index + 1], rows[:0]) for index in range(3)])
    return merge_scales([Lpcam(folded).view_maps(ViewFeatures(features), LABELS)], LABELS, SIZE, 0.0)


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")  # what readers do to tensors
@pytest.mark.parametrize("refiner", REFINERS)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: f"{family.arch}-{family.origin}")
def test_cell(family: Family, refiner: str, tmp_path: Path):
    maps = maps_of(family.example)
    assert float(maps.high_res.amax()) == 1.0
    writer = get_refiner(refiner)
    writer.write(tmp_path, "2007_000032", maps)
    labelled = READERS[refiner](writer.path(tmp_path, "2007_000032"), SIZE, 0.3)
    assert labelled.shape == SIZE
    found = set(labelled.ravel().tolist())
    assert found & {1, 3}
    assert found <= {0, 1, 3}


def table() -> str:
    header = ["`--arch`", "checkpoints of", *(f"`{refiner}`" for refiner in REFINERS), "the checkpoints' test"]
    lines = [header, ["---"] * len(header)]
    for family in FAMILIES:
        backed = f"`{TESTS[family.arch, family.origin]}`"
        lines.append([f"`{family.arch}`", family.origin, *("✓" for _ in REFINERS), backed])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def test_the_table_is_what_the_code_says():
    """To write it anew: python -c 'from tests.test_coverage import write; write()'."""
    text = PAGE.read_text(encoding="utf-8")
    assert text.partition(START)[2].partition(END)[0] == table()


def write() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(before + START + table() + END + rest.partition(END)[2], encoding="utf-8")
