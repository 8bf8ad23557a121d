"""What prototypes see, by hand and by law."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpcam.prototypes import Centres, Prototypes, Provenance
from lpcam.records import Photo
from lpcam.report.patches import STRIPS, Cutter
from lpcam.report.sights import PLACES, kept, look, pca
from lpcam.store import Description, FeatureStore, PhotoFeatures, write_manifest, write_shard

CLASSES = ("cow", "train")
SIDE = 4  # of the grid
EIGHT = 8  # pixels a cell
HEAD, BODY, GRASS = torch.eye(3)


def centres(vectors, is_object, sizes, selected=None):
    count = len(vectors)
    chosen = torch.ones(count, dtype=torch.bool) if selected is None else torch.tensor(selected)
    return Centres(
        torch.stack(vectors),
        torch.tensor(is_object),
        chosen,
        torch.linspace(1, 0.5, count),
        torch.tensor(sizes),
        9,
        9,
        False,
    )


@pytest.fixture
def prototypes() -> Prototypes:
    cow = centres(
        [HEAD * 3, BODY * 7, GRASS, GRASS], [True, True, False, False], [5, 8, 6, 2], [True, True, True, False]
    )
    train = centres([BODY + 0.1 * HEAD], [True], [4])
    return Prototypes((cow, train), Provenance(CLASSES))


def scene(head: int) -> torch.Tensor:
    """Features of a photo: grass, an object of two rows of two cells at the upper left, its head in one of them."""
    grid = GRASS.repeat(SIDE, SIDE, 1)
    grid[:2, :2] = BODY
    grid[head // 2, head % 2] = HEAD
    return grid.movedim(-1, 0)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    description = Description(CLASSES, "folder", "train", "p", "w", "tiny", "0", EIGHT, 3, (1.0,), "float32")
    cam = torch.zeros(1, SIDE, SIDE)
    cam[:, :2, :2] = 1
    heads = enumerate((0, 1, 3))  # not the same with rows and columns exchanged
    photos = [PhotoFeatures(f"p{index}", (0,), (32, 32), (1 + index) * scene(head), cam) for index, head in heads]
    other = PhotoFeatures("t", (1,), (32, 32), scene(0), cam)
    names = ["p0", "p1", "p2", "t"]
    write_shard(tmp_path / "f", 0, [*photos, other], [], description, names)
    write_manifest(tmp_path / "f", description, 1, torch.zeros(2, 3), {})
    return FeatureStore(tmp_path / "f")


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Photo]:
    truth = np.zeros((32, 32), np.uint8)
    truth[:16, :16] = 1
    Image.fromarray(truth).save(tmp_path / "mask.png")
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(tmp_path / "photo.png")
    return {name: Photo(name, tmp_path / "photo.png", (0,), tmp_path / "mask.png") for name in ("p0", "p1", "p2")}


def seen(store, photos, prototypes, **changes):
    return look(store, photos, kept(prototypes), 0, **{"tau": 0.1, "patches": 2, "most": 9, **changes})


def test_chosen_prototypes_are_named_class_before_context_large_before_small(prototypes):
    assert kept(prototypes)[0].names == ("cow 1", "cow 2", "cow context 1")
    assert kept(prototypes)[0].sizes.tolist() == [8, 5, 6]


def test_the_nearest_positions_are_found_one_a_photo(store, photos, prototypes):
    body, head, grass = seen(store, photos, prototypes, patches=3).sights
    assert sorted((patch.photo, patch.row, patch.column) for patch in head.patches) == [
        ("p0", 0, 0),
        ("p1", 0, 1),
        ("p2", 1, 1),
    ]
    assert all(patch.cosine == pytest.approx(1) for patch in (*body.patches, *head.patches, *grass.patches))


def test_where_a_prototype_lies_on_the_objects_by_hand(store, photos, prototypes):
    body, head, grass = seen(store, photos, prototypes).sights
    assert (body.share, head.share, grass.share) == (1.0, 1.0, 0.0)
    half = PLACES // 4  # the middle of the first of two cells
    where = np.zeros((PLACES, PLACES), int)
    where[half, half] = where[half, 3 * half] = where[3 * half, 3 * half] = 1
    assert head.places.tolist() == where.tolist()
    assert body.places.sum() == 9
    assert grass.places.sum() == 0


def test_without_masks_the_patches_stay_and_the_places_go(store, prototypes):
    sights = seen(store, {}, prototypes).sights
    assert all(sight.share is None and not sight.places.any() for sight in sights)
    assert all(len(sight.patches) == 2 for sight in sights)


def test_prototypes_of_other_classes_that_look_alike(store, photos, prototypes):
    body, head, _ = seen(store, photos, prototypes).sights
    assert [each.name for each in body.alike] == ["train 1"]
    assert body.alike[0].cosine == pytest.approx(1 / np.sqrt(1.01))
    assert head.alike[0].cosine == pytest.approx(0.1 / np.sqrt(1.01))


def test_the_length_of_a_feature_does_not_matter(store, photos, prototypes):
    plane = seen(store, photos, prototypes).plane
    spread = torch.cdist(plane.points, plane.points)
    assert len(spread.round(decimals=4).unique()) <= 4  # three kinds of features, whatever their length


def test_few_photos_are_looked_through_evenly(store, photos, prototypes):
    found = seen(store, photos, prototypes, most=2)
    assert found.photos == 2
    assert {patch.photo for sight in found.sights for patch in sight.patches} == {"p0", "p2"}


def test_a_class_without_photos_or_prototypes_is_looked_at_in_vain(store, photos, prototypes):
    nobody = Prototypes((prototypes.centres[0], centres([BODY], [True], [1], [False])), Provenance(CLASSES))
    found = look(store, photos, kept(nobody), 1, tau=0.1, patches=2, most=9)
    assert (found.sights, found.photos) == ((), 1)


def test_the_plane_keeps_what_lies_on_a_plane():
    flat = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
    turned = flat @ torch.linalg.qr(torch.rand(5, 5, generator=torch.Generator().manual_seed(1))).Q[:2]
    points, explained = pca(turned)
    assert torch.allclose(torch.cdist(points, points), torch.cdist(flat, flat), atol=1e-5)
    assert sum(explained) == pytest.approx(1)
    assert explained[0] >= explained[1]


def test_a_strip_shows_the_patches_with_their_cell_framed(store, photos, prototypes):
    sight = seen(store, photos, prototypes, patches=8)
    entry = Cutter(photos).entry("cow", sight, 10**6)
    assert [len(each["patches"]) for each in entry["sights"]] == [3, 3, 3]
    with Image.open(io.BytesIO(base64.b64decode(entry["sights"][1]["strip"]))) as strip:
        pixels = np.array(strip.convert("L")).astype(int)
    side = STRIPS[0].side
    assert pixels.shape == (side, 3 * side + 2 * 3)
    assert pixels[:, :side].min() < 40
    assert pixels[:, :side].max() > 190  # black and white frame on grey


def test_strips_shrink_into_the_allowance_and_vanish(store, photos, prototypes):
    cutter, sight = Cutter(photos), seen(store, photos, prototypes, patches=8)
    sizes = [
        sum(len(each["strip"]) for each in cutter.entry("cow", sight, allowance)["sights"])
        for allowance in (10**6, 1400, 0)
    ]
    assert sizes[0] > 1400 >= sizes[1] > sizes[2] == 0
