"""Every reader of a stranger's files, as a command calls it, and a small world of files that all of them read."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from click.testing import CliRunner
from lpcam_cli.main import main as command
from PIL import ExifTags, Image

from lpcam import files
from lpcam.backbones import load_classifier
from lpcam.backbones.checkpoints import read_checkpoint, read_head
from lpcam.backbones.demo import build
from lpcam.corridor.basis import read_basis
from lpcam.corridor.conversion import convert
from lpcam.datasets import open_split, photo_size, read_mask, read_photo
from lpcam.datasets.instances import _read_once
from lpcam.datasets.photos import MAX_PIXELS
from lpcam.discriminants import Discriminants
from lpcam.dumps import FeatureDump, read_class_vectors
from lpcam.errors import LpcamError
from lpcam.evaluation import SeedScores, compute
from lpcam.inspection import inspect
from lpcam.pickles import load_dictionary, save_dictionary
from lpcam.prototypes import Prototypes
from lpcam.records import ActivationMaps, DataSplit, Photo
from lpcam.refiners import get_reader, readable
from lpcam.refiners.label_parts import SaliencyLabels
from lpcam.report.seeds import find_seeds, score
from lpcam.store import MANIFEST, FeatureStore
from lpcam.store.manifest import listed
from lpcam.support import Support
from lpcam.training.checkpoint import Progressed
from lpcam.training.log import TrainingLog
from lpcam.training.run import Run
from lpcam.workspace import Workspace, claim_seeds, seeds_made_by
from tests.conftest import make_voc
from tests.refiners.samples import make_maps

CLASSES = ("sheep", "train")
SIZE = (33, 57)


@dataclass(frozen=True)
class Door:
    """One reader and the file of its that is spoilt.

    Attributes:
        name: Of both.
        target: The file, in the world.
        form: Of the file, which says how it is spoilt.
        enter: Reads it as a command does and checks that what comes out can be used.
        arrange: Makes other files of the world follow the spoilt one, as a stranger would.
        slow: Whether only few inputs are tried.
    """

    name: str
    target: str
    form: str
    enter: Callable[[Path], object]
    arrange: Callable[[Path], None] | None = None
    slow: bool = False


# --------------------------------------------------------------------------------------------- world


def make_world(world: Path) -> None:
    """Write a small data set of every layout, checkpoints of every format, and a workspace with everything in it."""
    voc = make_voc(world / "voc", [SIZE, (48, 64), (40, 40)])
    _annotations(voc)
    network = build("demo").network.state_dict()
    channels = next(tensor.shape[0] for name, tensor in reversed(network.items()) if name.endswith(".bias"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = {
            **{name: tensor.clone() for name, tensor in network.items()},
            "fc.weight": torch.rand(2, channels) - 0.4,
        }
    torch.save(state, world / "net.pth")
    torch.save({"state_dict": state, "epoch": 3}, world / "old.pth", _use_new_zipfile_serialization=False)
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in state.items()}, world / "net.safetensors")
    np.save(world / "head.npy", state["fc.weight"].numpy())
    save_file({"weight": state["fc.weight"]}, world / "head.safetensors")
    _coco(world, voc)
    _folder(world, voc)
    _run(world, voc)
    _seeds(world)
    _dump(world, channels)
    _images(world)
    _training(world)


def _annotations(voc: Path) -> None:
    save_dictionary(
        voc / "cls_labels.npy", {name: np.array(labels, np.float32) for name, labels in _vectors(voc).items()}
    )
    (voc / "Annotations").mkdir()
    for name, vector in _vectors(voc).items():
        found = [CLASSES[label] for label, on in enumerate(vector) if on]
        objects = "".join(f"<object><name>{each}</name><part><name>head</name></part></object>\n" for each in found)
        text = f'<?xml version="1.0"?>\n<annotation><folder>VOC</folder>\n{objects}</annotation>\n'
        (voc / "Annotations" / f"{name}.xml").write_text(text)


def _vectors(voc: Path) -> dict[str, list[int]]:
    rows = [line.split(",") for line in (voc / "labels.csv").read_text().splitlines()[1:]]
    return {name: [int(each in words.split(";")) for each in CLASSES] for name, words in rows}


def _coco(world: Path, voc: Path) -> None:
    root = world / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "train2017").mkdir()
    shutil.copy(voc / "JPEGImages" / "2007_000000.jpg", root / "train2017" / "000000000009.jpg")
    height, width = SIZE
    entries = [
        {"id": 1, "image_id": 9, "category_id": 18, "iscrowd": 0, "area": 50.5, "segmentation": [[2, 2, 20, 3.5, 18, 15]]},
        {"id": 2, "image_id": 9, "category_id": 20, "iscrowd": 1, "area": 90, "segmentation": {"size": [height, width], "counts": [100, 50, height * width - 150]}},
        {"id": 3, "image_id": 9, "category_id": 20, "iscrowd": 0, "area": 9, "segmentation": {"size": [height, width], "counts": "[Q12l00O2O00"}},
    ]  # fmt: skip
    from pycocotools import mask as codec

    drawn = np.zeros(SIZE, np.uint8, order="F")
    drawn[5:9, 5:20] = 1
    entries[2]["segmentation"] = {"size": [height, width], "counts": codec.encode(drawn)["counts"].decode()}
    content = {
        "info": {"year": 2017},
        "images": [{"id": 9, "file_name": "000000000009.jpg", "height": height, "width": width}],
        "annotations": entries,
        "categories": [{"id": 18, "name": "sheep"}, {"id": 20, "name": "train"}],
    }
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))


def _folder(world: Path, voc: Path) -> None:
    root = world / "folder"
    (root / "herd").mkdir(parents=True)
    shutil.copy(voc / "JPEGImages" / "2007_000000.jpg", root / "a.jpg")
    shutil.copy(voc / "JPEGImages" / "2007_000001.jpg", root / "herd" / "b.jpg")
    (root / "labels.csv").write_text('name,classes\na.jpg,sheep\n"herd/b.jpg",sheep;train\n')
    (root / "all.txt").write_text("a\nherd/b.jpg\n")


def _run(world: Path, voc: Path) -> None:
    data = f"--dataset voc --root {voc} --labels {voc}/labels.csv --classes {voc}/classes.txt"
    net = f"--arch demo --weights {world}/net.pth"
    stages = (
        f"extract-features -w {world}/w {data} {net} --scales 1 --device cpu",
        f"cluster -w {world}/w --k 2",
        f"cluster -w {world}/w --method pacam --k 2",
        f"cluster -w {world}/w --method fisher",
        f"generate -w {world}/w --method cam,lpcam --device cpu",
        f"evaluate -w {world}/w --method lpcam",
    )
    for stage in stages:
        found = CliRunner().invoke(command, stage.split(), catch_exceptions=False)
        if found.exit_code:
            raise RuntimeError(f"lpcam {stage}: {found.output}")
    record = {"stage": "generate", "name": "2007_000009", "reason": "cannot read it"}
    (world / "w" / "failures.jsonl").write_text(f"{json.dumps(record)}\n{json.dumps(record)}\n")
    (world / "imported").mkdir()
    shutil.copy(world / "w" / "prototypes.safetensors", world / "imported")
    sources = json.loads((world / "w" / "features" / MANIFEST).read_text())["sources"]
    files.write_json(world / "imported" / "imported.json", sources)


def _seeds(world: Path) -> None:
    for family in readable():
        get_reader(family).write(world / "seeds" / family, "a", make_maps((0, 1), SIZE))


def _dump(world: Path, channels: int) -> None:
    (world / "dump").mkdir()
    vectors = {label: torch.rand(3, channels) for label in range(2)}
    torch.save(vectors, world / "dump" / "class_ceneters.pt")
    torch.save({0: torch.rand(channels, 3, 4), 1: torch.rand(channels, 2, 2)}, world / "dump" / "tensor_feature.pt")
    torch.save([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])], world / "dump" / "tensor_label.pt")
    save_dictionary(world / "dump" / "name2id.npy", {"a": 0, "b": 1})


def _images(world: Path) -> None:
    (world / "photos").mkdir()
    random = np.random.default_rng(0)
    photo = Image.fromarray(random.integers(0, 255, (*SIZE, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for suffix, options in (
        ("jpg", {"exif": exif}),
        ("webp", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("bmp", {}),
        ("ppm", {}),
    ):
        photo.save(world / "photos" / f"a.{suffix}", **options)
    photo.quantize(16).save(world / "photos" / "a.png", transparency=3)
    photo.save(world / "photos" / "progressive.jpg", progressive=True)
    mask = Image.fromarray(random.integers(0, 3, SIZE, dtype=np.uint8))
    mask.putpalette(list(range(256)) * 3)
    mask.save(world / "photos" / "mask.png")
    Image.fromarray(random.integers(0, 255, SIZE, dtype=np.uint8)).save(world / "photos" / "saliency.png")
    photo.save(world / "photos" / "upright.jpg")
    photo.save(world / "photos" / "saliency.jpg")


def _training(world: Path) -> None:
    state = {"a.weight": torch.rand(3, 2)}
    optimiser = {"state": {0: {"momentum_buffer": torch.zeros(3, 2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    progress = Progressed("f", 4, state, optimiser, torch.rand(4, 1).double(), torch.rand(2, 2).double())
    progress.save(world / "trained.pth.unfinished")
    torch.save(state, world / "trained.pth")
    described = {"fingerprint": "f", "losses": [0.5, 0.2], "map_per_epoch": [0.5, None], "miou_per_epoch": [None, 0.1]}
    files.write_json(world / "trained.pth.json", described, sealed=True)
    (world / "trained.pth.log.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4}\n')


# --------------------------------------------------------------------------------------------- doors


def doors() -> tuple[Door, ...]:
    """Return all readers."""
    return (
        *_of_pickles(), *_of_weights(), *_of_tensor_files(), *_of_stores(), *_of_dumps(), *_of_training(), *_of_lists(),
        *_of_images(), *_of_records(), *_of_inspection(),
    )  # fmt: skip


def _of_pickles() -> tuple[Door, ...]:
    def seed(family: str) -> Callable[[Path], None]:
        return lambda world: _use_maps(get_reader(family).read(world / "seeds" / family, "a"))

    seeds = (Door(f"seeds of {name}", f"seeds/{name}/a.npy", "dictionary", seed(name)) for name in readable())
    return (
        Door("a dictionary", "voc/cls_labels.npy", "dictionary", lambda world: _mapping(load_dictionary(world / "voc/cls_labels.npy"))),
        Door("cls_labels.npy", "voc/cls_labels.npy", "dictionary", lambda world: _voc(world, labels="cls_labels.npy")),
        *seeds,
        Door("seeds, scored", "w/seeds/lpcam/irn/2007_000000.npy", "dictionary", _scored),
        Door("seeds, converted", "seeds/irn/a.npy", "dictionary", _converted),
    )  # fmt: skip


def _of_weights() -> tuple[Door, ...]:
    def tensors(name: str) -> Callable[[Path], None]:
        return lambda world: _require(all(each.numel() >= 0 for each in read_checkpoint(world / name).values()))

    def classifier(name: str) -> Callable[[Path], None]:
        return lambda world: _use_classifier(world / name)

    def head(name: str) -> Callable[[Path], None]:
        return lambda world: _matrix(read_head(world / name))

    return (
        Door("a checkpoint", "net.pth", "torch", tensors("net.pth")),
        Door("a checkpoint of the first format", "old.pth", "torch", tensors("old.pth")),
        Door("a checkpoint in safetensors", "net.safetensors", "safetensors", tensors("net.safetensors")),
        Door("a classifier", "net.pth", "torch", classifier("net.pth")),
        Door("a classifier of the first format", "old.pth", "torch", classifier("old.pth")),
        Door("a classifier in safetensors", "net.safetensors", "safetensors", classifier("net.safetensors")),
        Door("a head, .npy", "head.npy", "array", head("head.npy")),
        Door("a head, .safetensors", "head.safetensors", "safetensors", head("head.safetensors")),
    )


def _of_tensor_files() -> tuple[Door, ...]:
    return (
        Door("prototypes", "w/prototypes.safetensors", "safetensors", _prototypes),
        Door("support", "w/support.safetensors", "safetensors", _support),
        Door("discriminants", "w/fisher.safetensors", "safetensors", _discriminants),
        Door("class weights of a store", "w/features/class_weights.safetensors", "safetensors", _class_weights),
    )


def _of_stores() -> tuple[Door, ...]:
    shard = "w/features/shard-00000.safetensors"
    return (
        Door("a manifest", f"w/features/{MANIFEST}", "json", _store),
        Door("a shard", shard, "safetensors", _store),
        Door("a shard and its manifest", shard, "safetensors", _store, _relist),
        Door("a basis", f"w/features/{MANIFEST}", "json", _basis),
        Door("an import", "imported/imported.json", "json", lambda world: read_basis(Workspace(world / "imported"))),
    )


def _of_dumps() -> tuple[Door, ...]:
    def dump(world: Path) -> None:
        found = FeatureDump.open(world / "dump")
        for name in ("a", "b"):
            features, labels = found.photo(name, 2, _channels(world))
            _require(features.ndim == 3 and bool(features.isfinite().all()) and all(0 <= label < 2 for label in labels))

    def vectors(world: Path) -> None:
        for tensor in read_class_vectors(world / "dump/class_ceneters.pt", CLASSES, _channels(world)):
            _require(tensor.dtype == torch.float32 and tensor.ndim == 2 and bool(tensor.isfinite().all()))

    return (
        Door("published prototypes", "dump/class_ceneters.pt", "torch", vectors),
        Door("published features", "dump/tensor_feature.pt", "torch", dump),
        Door("published labels", "dump/tensor_label.pt", "torch", dump),
        Door("published numbers", "dump/name2id.npy", "dictionary", dump),
    )


def _of_training() -> tuple[Door, ...]:
    def progressed(world: Path) -> None:
        found = Progressed.load(world / "trained.pth.unfinished")
        _require(found.step >= 0 and found.losses.ndim == 2 and found.scores.shape[1:] == (2,))
        _require(
            len(found.losses) == found.step and all(isinstance(each, torch.Tensor) for each in found.model.values())
        )

    def finished(world: Path) -> None:
        run = Run(DataSplit("voc", "train", CLASSES, ()), None, None, None, 0, world / "trained.pth", {}, "f")  # type: ignore[arg-type]
        if run.is_finished():
            history = run.finished()
            _require(history.losses.ndim == 2 and history.scores.shape[1:] == (2,))

    def copied(world: Path) -> None:
        shutil.copy(world / "trained.pth.log.jsonl", world / "out" / "log.jsonl")

    def log(world: Path) -> None:
        TrainingLog(world / "out" / "log.jsonl").cut(1)

    return (
        Door("a training's state", "trained.pth.unfinished", "torch", progressed),
        Door("a training's description", "trained.pth.json", "json", finished),
        Door("a training's log", "trained.pth.log.jsonl", "json lines", log, copied),
    )


def _of_lists() -> tuple[Door, ...]:
    lists = "voc/ImageSets/Segmentation/train.txt"
    return (
        Door("a list", lists, "text", lambda world: _voc(world, labels="labels.csv")),
        Door("class names", "voc/classes.txt", "text", lambda world: _voc(world, labels="labels.csv")),
        Door("a table", "voc/labels.csv", "text", lambda world: _voc(world, labels="labels.csv")),
        Door("annotations", "voc/Annotations/2007_000000.xml", "xml", lambda world: _voc(world, labels=None)),
        Door("labels in masks", "voc/SegmentationClass/2007_000000.png", "png", _without_annotations, _no_annotations),
        Door("a folder's table", "folder/labels.csv", "text", lambda world: _split(open_split("folder", world / "folder", "all"))),
        Door("a folder's list", "folder/all.txt", "text", lambda world: _split(open_split("folder", world / "folder", "all"))),
        Door("instances", "coco/annotations/instances_train2017.json", "instances", _instances),
    )  # fmt: skip


def _of_images() -> tuple[Door, ...]:
    def photo(name: str) -> Callable[[Path], None]:
        return lambda world: _photo(world / "photos" / name)

    def mask(world: Path) -> None:
        found = read_mask(Photo("a", world / "photos/upright.jpg", (), world / "photos/mask.png"), 2)
        _require(found.dtype == np.uint8 and found.shape == SIZE and bool(np.isin(found, (0, 1, 2, 255)).all()))

    def saliency(world: Path) -> None:
        part, own = SaliencyLabels("labels", world / "photos"), Photo("saliency", world / "photos/saliency.jpg", (0, 1))
        part.check([own])
        part.write(world / "out" / "a.png", "saliency", make_maps((0, 1), SIZE), read_photo(own.path))

    names = ("a.jpg", "progressive.jpg", "a.png", "a.webp", "a.tif", "a.bmp", "a.ppm")
    return (
        *(
            Door(f"a photo, {name}", f"photos/{name}", "png" if name == "a.png" else "image", photo(name))
            for name in names
        ),
        Door("a mask", "photos/mask.png", "png", mask),
        Door("a saliency map", "photos/saliency.png", "png", saliency),
    )


def _of_records() -> tuple[Door, ...]:
    def record(world: Path) -> None:
        _require(isinstance(seeds_made_by(world / "w/seeds/lpcam/irn"), dict))

    def copied(world: Path) -> None:
        copy = world / "out" / "claimed"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(world / "w/seeds/lpcam/irn", copy / "deeper")

    def claim(world: Path) -> None:
        copy = world / "out" / "claimed" / "deeper"
        claim_seeds(copy, {"method": "x"}, "train", "0", overwrite=True)

    def failed(world: Path) -> None:
        _require(all({"stage", "name", "reason"} <= entry.keys() for entry in Workspace(world / "w").failed()))

    seeds = "w/seeds/lpcam/irn/.lpcam-seeds.json"
    return (
        Door("a record of seeds", seeds, "json", record),
        Door("a record of seeds, claimed", seeds, "json", claim, copied),
        Door("a record of seeds, scored", seeds, "json", _scored),
        Door("failures", "w/failures.jsonl", "json lines", failed),
    )


def _of_inspection() -> tuple[Door, ...]:
    def told(path: str) -> Callable[[Path], None]:
        return lambda world: _tell(world / path)

    return (
        Door("inspect seeds", "w/seeds/lpcam/irn/2007_000000.npy", "dictionary", told("w/seeds/lpcam/irn/2007_000000.npy")),
        Door("inspect a dictionary", "seeds/psa/a.npy", "dictionary", told("seeds/psa/a.npy")),
        Door("inspect labels", "voc/cls_labels.npy", "dictionary", told("voc/cls_labels.npy")),
        Door("inspect a folder of seeds", "w/seeds/lpcam/irn/2007_000001.npy", "dictionary", told("w/seeds/lpcam/irn")),
        Door("inspect a record of seeds", "w/seeds/lpcam/irn/.lpcam-seeds.json", "json", told("w/seeds/lpcam/irn")),
        Door("inspect prototypes", "w/prototypes.safetensors", "safetensors", told("w/prototypes.safetensors")),
        Door("inspect support", "w/support.safetensors", "safetensors", told("w/support.safetensors")),
        Door("inspect discriminants", "w/fisher.safetensors", "safetensors", told("w/fisher.safetensors")),
        Door("inspect a shard", "w/features/shard-00000.safetensors", "safetensors", told("w/features/shard-00000.safetensors")),
        Door("inspect features", f"w/features/{MANIFEST}", "json", told("w/features")),
        Door("inspect a head", "head.npy", "array", told("head.npy")),
        Door("inspect a checkpoint", "net.pth", "torch", told("net.pth"), slow=True),
        Door("inspect a checkpoint in safetensors", "net.safetensors", "safetensors", told("net.safetensors"), slow=True),
        Door("inspect a workspace, scores", "w/evaluation/lpcam.json", "json", told("w")),
        Door("inspect a workspace, failures", "w/failures.jsonl", "json lines", told("w")),
        Door("inspect a workspace, manifest", f"w/features/{MANIFEST}", "json", told("w")),
        Door("inspect a workspace, prototypes", "w/prototypes.safetensors", "safetensors", told("w")),
        Door("inspect an import", "imported/imported.json", "json", told("imported")),
    )  # fmt: skip


# ------------------------------------------------------------------------------ what must come out


def _require(holds: bool) -> None:
    if not holds:
        raise AssertionError("what was read cannot be used")


def _mapping(content: object) -> None:
    _require(isinstance(content, dict))


def _use_maps(maps: ActivationMaps) -> None:
    count, (height, width) = len(maps.labels), maps.high_res.shape[1:]
    _require(maps.high_res.dtype == maps.strided.dtype == torch.float32)
    _require(maps.high_res.shape[0] == count == maps.strided.shape[0])
    _require(bool(maps.high_res.isfinite().all()) and bool(maps.strided.isfinite().all()))
    _require(all(isinstance(label, int) and label >= 0 for label in maps.labels) and len(set(maps.labels)) == count)
    if 0 < height * width < 10**6:
        scores = SeedScores(3, [0.1, 0.5])
        scores.update(maps, np.zeros((height, width), np.uint8))
        _require(0 <= compute(scores).best.miou <= 1)


def _use_classifier(path: Path) -> None:
    net = load_classifier("demo", path)
    _matrix(net.class_weights)
    _require(net.num_classes == len(net.class_weights) and len(net.sha256) == 64)


def _matrix(weights: torch.Tensor) -> None:
    _require(weights.dtype == torch.float32 and weights.ndim == 2 and 0 not in weights.shape)
    _require(bool(weights.isfinite().all()))


def _prototypes(world: Path) -> None:
    made = Prototypes.load(world / "w/prototypes.safetensors")
    folded = made.folded()
    _require(
        folded.shape[0] == len(made.provenance.classes) and bool(folded.isfinite().all()) and len(made.sha256) == 64
    )


def _support(world: Path) -> None:
    made = Support.load(world / "w/support.safetensors")
    _require(len(made.context) == len(made.provenance.classes) and len(made.sha256) == 64)
    _require(all(each.vectors.ndim == 2 and len(each.vectors) == len(each.sizes) for each in made.context))


def _discriminants(world: Path) -> None:
    made = Discriminants.load(world / "w/fisher.safetensors")
    _require(set(made.class_counts()) == set(made.provenance.classes) and len(made.sha256) == 64)


def _class_weights(world: Path) -> None:
    store = FeatureStore(world / "w/features")
    _require(store.class_weights().shape == (len(store.description.classes), store.channels))


def _store(world: Path) -> None:
    store = FeatureStore(world / "w/features")
    _require(store.class_weights().ndim == 2)
    for photo, rows in zip(store.photos, store.rows(store.photos), strict=True):
        _require(rows.shape == (photo.rows, store.channels) and photo.rows > 0)
        _require(all(0 <= label < len(store.description.classes) for label in photo.labels))
        for label in photo.labels:
            _require(next(store.cams([photo], label)).shape == (photo.rows,))


def _relist(world: Path) -> None:
    path = world / "w/features" / MANIFEST
    content = json.loads(path.read_text())
    content.pop("sha256", None)
    with contextlib.suppress(Exception):  # the file has no checksum that could be listed
        content["shards"] = [listed(world / "w/features" / shard["file"]) for shard in content["shards"]]
    files.write_json(path, content, sealed=True)


def _basis(world: Path) -> None:
    basis = read_basis(Workspace(world / "w"))
    _require(all(isinstance(name, str) for name in basis.classes))


def _channels(world: Path) -> int:
    return int(np.load(world / "head.npy").shape[1])


def _voc(world: Path, labels: str | None) -> None:
    root = world / "voc"
    _split(open_split("voc", root, "train", labels=root / labels if labels else None, classes=root / "classes.txt"))


def _no_annotations(world: Path) -> None:
    hidden = shutil.ignore_patterns("Annotations", "SegmentationClass")
    shutil.copytree(world / "voc", world / "out" / "voc", ignore=hidden, dirs_exist_ok=True)


def _without_annotations(world: Path) -> None:
    root = world / "voc"
    masks, place = root / "SegmentationClass", world / "out" / "voc"
    _split(open_split("voc", place, "train", classes=root / "classes.txt", masks=masks))


def _split(split: DataSplit) -> None:
    names = [photo.name for photo in split.photos]
    _require(len(names) == len(set(names)) > 0 and all(isinstance(name, str) and name for name in split.classes))
    for photo in split.photos:
        _require(photo.path.is_file() and photo.labels == tuple(sorted(set(photo.labels))))
        _require(all(0 <= label < len(split.classes) for label in photo.labels))
        _require(
            not photo.name.startswith(".") and not set(photo.name) & set("/\\\0\n") and len(photo.name.encode()) < 250
        )
    _require(len(split.fingerprint) == 64)


def _instances(world: Path) -> None:
    _read_once.cache_clear()  # which knows a file by its time and size
    split = open_split("coco", world / "coco", "train2017")
    _split(split)
    for photo in split.photos:
        mask = read_mask(photo, len(split.classes))
        _require(mask.shape == SIZE and mask.dtype == np.uint8)


def _photo(path: Path) -> None:
    pixels = read_photo(path)
    _require(pixels.dtype == np.uint8 and pixels.shape[2:] == (3,) and 0 < pixels.size <= 3 * MAX_PIXELS)
    _require(photo_size(path) == pixels.shape[:2])


def _scored(world: Path) -> None:
    split = open_split(
        "voc", world / "voc", "train", labels=world / "voc/labels.csv", classes=world / "voc/classes.txt"
    )
    for seeds in find_seeds(Workspace(world / "w"), {}):
        if seeds.folder.parent.name == "lpcam":
            score(split, seeds)


def _converted(world: Path) -> None:
    found = convert(
        world / "seeds/irn", world / "out" / "converted", from_refiner="irn", to_refiner="sipe", overwrite=True
    )
    _require(found.images + len(found.failures) == 1)
    if found.failures:
        raise LpcamError(found.failures[0].reason)


def _tell(path: Path) -> None:
    told = inspect(path)
    json.dumps(told.as_json(), ensure_ascii=False).encode()
