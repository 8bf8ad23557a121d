"""PSA, SEAM, EDAM and MCTformer: their scripts' command lines, then what their next step does with the files."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpcam.dropin import edam, mctformer, psa, seam
from lpcam.dropin.arguments import Bag
from lpcam.errors import LpcamError

from .conftest import LABELS, SIZES


@pytest.fixture
def script(place, small_state):
    """The arguments that infer_cls.py cannot do without."""
    torch.save(small_state, "res38_cls.pth")
    return ["--weights", "res38_cls.pth", "--infer_list", "voc12/train_aug.txt", "--voc12_root", str(place.voc)]


def maps_of(folder: str, name: str) -> dict[int, np.ndarray]:
    """Read a dictionary of maps as aff_prepare and infer_aff do."""
    maps = np.load(Path(folder) / f"{name}.npy", allow_pickle=True).item()
    assert list(maps) == list(LABELS[name])
    assert all(type(key) is int for key in maps)
    for plane in maps.values():
        assert (plane.dtype, plane.shape) == (np.float32, SIZES[name])
        assert 0 <= plane.min() <= plane.max() <= 1
    return maps


def scores_of(folder: str, name: str) -> np.ndarray:
    """Read a CRF dictionary as the affinity training does: the labels are positions in it."""
    scores = np.load(Path(folder) / f"{name}.npy", allow_pickle=True).item()
    assert list(scores) == [0, *(label + 1 for label in LABELS[name])]
    planes = np.array(list(scores.values()))
    assert planes.shape == (len(LABELS[name]) + 1, *SIZES[name])
    np.testing.assert_allclose(planes.sum(axis=0), 1, atol=1e-4)
    return planes


def labels_of(folder: str, name: str) -> np.ndarray:
    with Image.open(Path(folder) / f"{name}.png") as image:
        assert image.mode == "P"
        labels = np.asarray(image)
    assert labels.shape == SIZES[name]
    assert set(np.unique(labels)) <= {0, *(label + 1 for label in LABELS[name])}
    return labels


def test_psa_without_a_crf(script, capfd):
    assert (
        psa.REPOSITORY.main([*script, "--network", "network.vgg16_cls", "--out_cam", "cam", "--out_cam_pred", "p"]) == 0
    )
    assert "α of the background in the affinity walk: 16" in capfd.readouterr().err
    for name in SIZES:
        maps = np.stack(list(maps_of("cam", name).values()))
        keys = np.array([0, *(label + 1 for label in LABELS[name])])
        padded = np.pad(maps, ((1, 0), (0, 0), (0, 0)), constant_values=0.3)
        assert (labels_of("p", name) == keys[padded.argmax(axis=0)]).all()
    assert sorted(path.suffix for path in Path("cam").iterdir() if path.name[0] != ".") == [""] + [".npy"] * 4 + [".sh"]


def test_psa_with_its_two_crfs_and_their_own_alphas(script):
    pytest.importorskip("pydensecrf", reason="needs the extra crf")
    crfs = ["--out_la_crf", "out/la", "--out_ha_crf", "out/ha", "--low_alpha", "4", "--high_alpha", "32"]
    assert psa.REPOSITORY.main([*script, "--out_cam", "out/cam", *crfs]) == 0
    low, high = (np.concatenate([scores_of(f"out/{side}", name)[0].ravel() for name in SIZES]) for side in ("la", "ha"))
    assert low.mean() > high.mean()  # the background, (1 - max)^α
    for name in SIZES:
        maps_of("out/cam", name)


def test_psa_writes_only_what_was_asked_for(script):
    pytest.importorskip("pydensecrf", reason="needs the extra crf")
    assert psa.REPOSITORY.main([*script, "--out_ha_crf", "ha/"]) == 0
    for name in SIZES:
        scores_of("ha", name)
    assert sorted(path.name for path in Path().iterdir()) == ["ha", "ha.lpcam", "res38_cls.pth", "voc12"]


def test_psa_with_its_own_network(place, resnet38d_state):
    torch.save(resnet38d_state, "res38_cls.pth")
    Image.new("RGB", (20, 24), "teal").save(place.voc / "JPEGImages/2007_000039.jpg")  # smaller than the others
    listed = place.list_of("few.txt", ["2007_000039"])
    words = ["--weights", "res38_cls.pth", "--infer_list", listed, "--voc12_root", str(place.voc)]
    assert psa.REPOSITORY.main([*words, "--out_cam", "cam"]) == 0
    maps = np.load("cam/2007_000039.npy", allow_pickle=True).item()
    assert {key: plane.shape for key, plane in maps.items()} == {19: (24, 20)}


def test_seam_appends_its_alphas(script):
    pytest.importorskip("pydensecrf", reason="needs the extra crf")
    assert seam.REPOSITORY.main([*script, "--out_cam", "cam", "--out_crf", "out/crf"]) == 0
    for name in SIZES:
        assert all(plane.max() in (0, 1) for plane in maps_of("cam", name).values())
        for folder in ("out/crf_4.0", "out/crf_24.0"):
            scores_of(folder, name)


def test_edam_merges_the_saliency(script, place, tmp_path):
    (tmp_path / "sal").mkdir()
    for name, (height, width) in SIZES.items():
        saliency = np.zeros((height, width), np.uint8)
        saliency[:, width // 2 :] = 200
        Image.fromarray(saliency).save(tmp_path / f"sal/{name}.png")
    bag = Namespace(
        weights="res38_cls.pth",
        network="network.resnet_EDAM_cls",
        infer_list="voc12/train_aug.txt",
        num_workers=2,
        voc12_root=str(place.voc),
        out_cam="cam",
        out_cam_pred="pred",
        out_crf=None,
        out_crf_pred=None,
        theta=0.2,
        alpha=1e-6,
        beta=0.99999,
        sal_path=str(tmp_path / "sal"),
    )
    edam.run(bag)
    for name, (_, width) in SIZES.items():
        maps, labels = maps_of("cam", name), labels_of("pred", name)
        strongest = np.max(list(maps.values()), axis=0)
        assert (labels[:, : width // 2][strongest[:, : width // 2] < 0.9] == 0).all()
        assert (labels[:, width // 2 :][strongest[:, width // 2 :] > 1e-6] > 0).all()


def test_mctformer_from_its_lists_folder(place, small_state):
    torch.save({"model": small_state}, "checkpoint.pth")
    place.list_of("train_aug_id.txt", list(SIZES))
    words = ["--data-path", str(place.voc), "--img-list", "voc12", "--resume", "checkpoint.pth", "--scales", "1", ".75"]
    others = ["--gen_attention_maps", "--attention-type", "patchcam", "--layer-index", "3", "--data-set", "VOC12MS"]
    labels = ["--label-file-path", "voc12/cls_labels.npy"]
    assert mctformer.REPOSITORY.main([*words, *others, *labels, "--cam-npy-dir", "results/npy"]) == 0
    for name in SIZES:
        for plane in maps_of("results/npy", name).values():
            assert (plane.min(), plane.max()) in ((0, 1), (0, 0))


def test_mctformer_keeps_the_attention_of_its_network(place, mctformer_state, capfd):
    torch.save({"model": mctformer_state}, "checkpoint.pth")
    bag = Namespace(
        data_path=str(place.voc),
        img_list=place.list_of("few.txt", ["2007_000039"]),
        resume="checkpoint.pth",
        cam_npy_dir="refined",
        scales=[1.0],
        attention_type="fused",
        layer_index=3,
        patch_attn_refine=True,
    )
    report = mctformer.run(bag)
    assert report.arch == "mctformer"
    maps_of("refined", "2007_000039")
    assert '"attention": "refine"' in Path("refined/.lpcam-seeds.json").read_text()


@pytest.mark.parametrize(("kind", "refined", "attention"), [("fused", False, "fuse"), ("patchcam", True, None)])
def test_attention_types_of_mctformer(kind, refined, attention):
    bag = Namespace(attention_type=kind, patch_attn_refine=refined)
    assert mctformer._attention(Bag(bag, mctformer.REPOSITORY.arguments)) == attention
    with pytest.raises(LpcamError, match="attention-type is 'transcam': give fused, or patchcam"):
        mctformer._attention(Bag(Namespace(attention_type="transcam"), mctformer.REPOSITORY.arguments))


@pytest.mark.parametrize(
    ("drop_in", "words", "line"),
    [
        (psa, [], "nothing to write: give --out_cam or --out_la_crf or --out_ha_crf or --out_cam_pred a folder"),
        (edam, ["--out_cam_pred", "p"], "give --sal_path the folder"),
        (edam, ["--out_crf_pred", "p"], "out_crf_pred is not written by lpcam"),
        (edam, ["--out_cam_pred", "p", "--sal_path", "sal"], "sal lacks the saliency maps of 4 of 4 photos"),
    ],
)
def test_what_is_missing_is_said_in_one_line(drop_in, words, line, script, capfd):
    assert drop_in.REPOSITORY.main([*script, *words]) == 1
    (said,) = [text for text in capfd.readouterr().err.splitlines() if text.startswith("Error: ")]
    assert line in said
    assert sorted(path.name for path in Path().iterdir()) == ["res38_cls.pth", "voc12"]  # before any work


def test_without_pydensecrf_it_is_said_before_the_work(script, monkeypatch):
    def missing():
        raise LpcamError("pydensecrf is missing: pip install 'lpcam[crf]'")

    monkeypatch.setattr("lpcam.dropin.psa_family.require_crf", missing)
    bag = Namespace(**dict(zip(("weights", "infer_list", "voc12_root"), script[1::2], strict=True)), out_la_crf="la")
    with pytest.raises(LpcamError, match="pip install"):
        psa.run(bag)
    assert not Path("la.lpcam").exists()
