"""store: round trip by any shard layout, lazy slices, and every way a store can be incomplete."""

from __future__ import annotations

import json
import threading

import pytest
import torch
from safetensors import safe_open

from lpcam import tensorfile
from lpcam.errors import LpcamError
from lpcam.files import await_file
from lpcam.records import Failure
from lpcam.store import (
    DTYPES,
    Description,
    FeatureStore,
    PhotoFeatures,
    clear,
    holds_other,
    read_manifest,
    shard_files,
    shard_is_complete,
    write_manifest,
    write_shard,
)

CHANNELS = 6


def description(**changes) -> Description:
    values = {
        "classes": ("sheep", "train"),
        "dataset": "voc",
        "split": "train",
        "photos": "p",
        "weights_sha256": "w",
        "arch": "resnet50",
        "layer": "layer4",
        "stride": 16,
        "channels": CHANNELS,
        "scales": (1.0, 0.5),
        "dtype": "float32",
    }
    return Description(**{**values, **changes})


def photos(count: int = 5) -> list[PhotoFeatures]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for index in range(count):
        grid = (2 + index % 3, 3)
        labels = ((0,), (1,), (0, 1))[index % 3]
        made.append(
            PhotoFeatures(
                f"photo{index}",
                labels,
                (20 + index, 30),
                torch.rand(CHANNELS, *grid, generator=generator),
                torch.rand(len(labels), *grid, generator=generator),
            )
        )
    return made


def write(folder, entries, shard_size, what=None):
    what = what or description()
    runs = [entries[first : first + shard_size] for first in range(0, len(entries), shard_size)]
    for index, run in enumerate(runs):
        write_shard(folder, index, run, [], what, [entry.name for entry in run])
    write_manifest(folder, what, len(runs), torch.eye(2, CHANNELS), {"data": {"root": "/x"}})


@pytest.mark.parametrize("shard_size", [1, 2, 5])
def test_round_trip_is_the_same_whatever_the_shards(tmp_path, shard_size):
    entries = photos()
    write(tmp_path, entries, shard_size)
    store = FeatureStore(tmp_path)
    assert [photo.name for photo in store.photos] == [entry.name for entry in entries]
    for photo, rows, entry in zip(store.photos, store.rows(store.photos), entries, strict=True):
        assert torch.equal(rows, entry.features.flatten(1).T)
        assert (photo.size, photo.labels, photo.rows) == (entry.size, entry.labels, rows.shape[0])
    for label in (0, 1):
        carriers = [photo for photo in store.photos if label in photo.labels]
        expected = [entry.cam[entry.labels.index(label)].flatten() for entry in entries if label in entry.labels]
        for found, cam in zip(store.cams(carriers, label), expected, strict=True):
            assert torch.equal(found, cam)
    assert torch.equal(store.class_weights(), torch.eye(2, CHANNELS))
    assert store.manifest.sources == {"data": {"root": "/x"}}


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_rows_keep_the_stores_dtype(tmp_path, dtype):
    entries = photos()
    write(tmp_path, entries, 3, description(dtype=dtype))
    rows = next(FeatureStore(tmp_path).rows(FeatureStore(tmp_path).photos))
    assert rows.dtype == DTYPES[dtype]
    assert torch.equal(rows, entries[0].features.flatten(1).T.to(DTYPES[dtype]))


def test_same_input_same_bytes(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, photos(), 2)
    for first, second in zip(shard_files(tmp_path / "a"), shard_files(tmp_path / "b"), strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()


def test_without_its_manifest_a_store_is_not_complete(tmp_path):
    write(tmp_path, photos(), 2)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(LpcamError, match="run 'lpcam extract-features' again"):
        FeatureStore(tmp_path)


@pytest.mark.parametrize("damage", ["half", "missing", "other", "garbage"])
def test_a_damaged_shard_is_named(tmp_path, damage):
    write(tmp_path, photos(), 2)
    path = tmp_path / "shard-00001.safetensors"
    if damage == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "missing":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(b"\0" * path.stat().st_size)
    else:
        entries = photos()[2:4]
        write_shard(tmp_path, 1, entries, [], description(photos="others"), [entry.name for entry in entries])
    with pytest.raises(LpcamError, match=r"shard-00001.*run 'lpcam extract-features' again"):
        FeatureStore(tmp_path)


def flip(path, offset=-8):
    """Change one byte of a file's tensors."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_a_changed_value_is_found_before_it_is_used(tmp_path):
    write(tmp_path, photos(), 2)
    flip(tmp_path / "shard-00001.safetensors")
    store = FeatureStore(tmp_path)
    assert len(list(store.rows(store.photos[:2]))) == 2, "the other shards are fine"
    for read in (store.rows(store.photos), store.cams([store.photos[3]], 0), store.require_shards()):
        with pytest.raises(
            LpcamError, match=r"shard-00001.*checksum does not hold.*run 'lpcam extract-features' again"
        ):
            list(read)
    names = [photo.name for photo in store.photos]
    assert shard_is_complete(tmp_path, 0, description(), names[:2])
    assert not shard_is_complete(tmp_path, 1, description(), names[2:4])


def test_changed_class_weights_are_found(tmp_path):
    write(tmp_path, photos(), 2)
    flip(tmp_path / "class_weights.safetensors")
    with pytest.raises(LpcamError, match=r"class_weights.*checksum does not hold"):
        FeatureStore(tmp_path).class_weights()


def test_a_shard_of_another_extraction_is_found_by_its_checksum(tmp_path):
    write(tmp_path, photos(), 2)
    entries = photos()[:2]
    other = [PhotoFeatures(entry.name, entry.labels, entry.size, entry.features + 1, entry.cam) for entry in entries]
    write_shard(tmp_path, 0, other, [], description(), [entry.name for entry in entries])
    with pytest.raises(LpcamError, match=r"shard-00000\S+ does not belong to its manifest"):
        FeatureStore(tmp_path)


@pytest.mark.parametrize("change", ['"root": "/y"', '"shards": [{"file": "../x"'])
def test_a_manifest_that_was_changed_is_refused(tmp_path, change):
    write(tmp_path, photos(), 2)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    if "root" in change:
        manifest["sources"]["data"]["root"] = "/y"
    else:
        manifest["shards"][0]["file"] = "../x"
        del manifest["sha256"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(LpcamError, match=r"checksum does not hold|is no shard"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda header, tensors: tensors.pop("features"),
        lambda header, tensors: tensors.update(features=tensors["features"][:-1]),
        lambda header, tensors: tensors.update(features=tensors["features"][:, :-1].contiguous()),
        lambda header, tensors: tensors.update(cam=tensors["cam"][1:]),
        lambda header, tensors: header["photos"][0].update(grid=6),
        lambda header, tensors: header["photos"][0].update(grid=[-2, -3]),
        lambda header, tensors: header["photos"][0].update(labels=[2]),
        lambda header, tensors: header["photos"][0].update(labels=["sheep"]),
        lambda header, tensors: header["photos"][0].pop("size"),
        lambda header, tensors: header.update(failures=[3]),
        lambda header, tensors: header.pop("names"),
    ],
)
def test_a_shard_whose_parts_do_not_fit_is_refused_even_if_its_checksum_holds(tmp_path, change):
    write(tmp_path, photos(), 5)
    path = tmp_path / "shard-00000.safetensors"
    header = tensorfile.description_of(path, "lpcam")
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    tensorfile.save(path, tensors, "lpcam", json.dumps(header))
    write_manifest(tmp_path, description(), 1, torch.eye(2, CHANNELS), {})
    with pytest.raises(LpcamError, match=r"shard-00000\S+ is half-written or damaged"):
        FeatureStore(tmp_path)


def test_a_shard_is_complete_only_for_its_own_photos_and_description(tmp_path):
    entries = photos()[:2]
    names = [entry.name for entry in entries]
    write_shard(tmp_path, 0, entries, [], description(), names)
    assert shard_is_complete(tmp_path, 0, description(), names)
    assert not shard_is_complete(tmp_path, 0, description(), names[:1])
    assert not shard_is_complete(tmp_path, 0, description(dtype="float16"), names)
    assert not shard_is_complete(tmp_path, 1, description(), names)
    write_shard(tmp_path, 0, entries, [Failure("photo9", "truncated")], description(), [*names, "photo9"])
    assert not shard_is_complete(tmp_path, 0, description(), [*names, "photo9"]), "a failed photo is tried again"


def test_a_shard_that_another_machine_wrote_may_appear_late(tmp_path, monkeypatch):
    entries = photos()
    write_shard(tmp_path, 0, entries, [], description(), [entry.name for entry in entries])
    path = tmp_path / "shard-00000.safetensors"
    hidden = path.rename(tmp_path / "not yet")
    threading.Timer(0.3, lambda: hidden.rename(path)).start()
    write_manifest(tmp_path, description(), 1, torch.eye(2, CHANNELS), {})
    assert len(FeatureStore(tmp_path).photos) == 5
    path.unlink()
    with pytest.raises(LpcamError, match=r"shard-00000\S+ was written and is not there"):
        await_file(path, seconds=0.1)


def test_failures_are_kept(tmp_path):
    write_shard(tmp_path, 0, [], [Failure("photo0", "truncated")], description(), ["photo0"])
    write_manifest(tmp_path, description(), 1, torch.eye(2, CHANNELS), {})
    store = FeatureStore(tmp_path)
    assert store.photos == ()
    assert store.failures == (Failure("photo0", "truncated"),)


def test_features_of_another_run_are_seen_and_cleared(tmp_path):
    assert not holds_other(tmp_path / "nothing", description())
    write(tmp_path, photos(), 2)
    assert not holds_other(tmp_path, description())
    assert holds_other(tmp_path, description(weights_sha256="v"))
    clear(tmp_path)
    assert not holds_other(tmp_path, description(weights_sha256="v"))
    assert not (tmp_path / "manifest.json").exists()


def test_fewer_shards_leave_no_stale_file(tmp_path):
    write(tmp_path, photos(), 1)
    write(tmp_path, photos(), 5)
    assert [path.name for path in shard_files(tmp_path)] == ["shard-00000.safetensors"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "description": {}}', "{" * 50])
def test_a_damaged_manifest(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(LpcamError, match="extract-features"):
        read_manifest(tmp_path)


def test_every_field_of_the_description_changes_the_fingerprint():
    plain = description().fingerprint
    changes = {
        "classes": ("sheep",),
        "dataset": "coco",
        "split": "val",
        "photos": "q",
        "weights_sha256": "v",
        "arch": "x",
        "layer": "y",
        "stride": 8,
        "channels": 7,
        "scales": (1.0,),
        "dtype": "float16",
        "precision": "bfloat16",
        "origin": "elsewhere",
    }
    assert set(changes) == set(json.loads(json.dumps(description().__dict__)))
    assert all(description(**{name: value}).fingerprint != plain for name, value in changes.items())
