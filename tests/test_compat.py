"""compat: the documented examples of torch-cam and pytorch-grad-cam with ours swapped in, beside the originals."""

from __future__ import annotations

import re
from functools import partial
from importlib.metadata import metadata

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torchvision.models import resnet18

import lpcam
from lpcam.compat import gradcam, torchcam
from lpcam.errors import LpcamError
from lpcam.views import normalise, sum_high_res

CLASSES = 300
DOG = 281


@pytest.fixture(scope="module")
def model():
    """Torchvision's ResNet-18 with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return resnet18(num_classes=CLASSES).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Two normalised images [2, 3, 96, 128]."""
    return torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def prototypes(model, images):
    """Prototypes of the classes the tests ask for, from the images themselves."""
    with torch.no_grad():
        labels = [[DOG, 7, int(label)] for label in model(images).argmax(dim=1)]
    profile = lpcam.get_profile("voc", k=3)
    return lpcam.build_prototypes(
        model, [(images, labels)], target_layer="layer4", profile=profile, scales=(1,), mirror=False
    )


def readme(package: str) -> str:
    """The README that the installed package carries."""
    pytest.importorskip({"torchcam": "torchcam", "grad-cam": "pytorch_grad_cam"}[package])
    found = metadata(package)
    return found.get_payload() or found["Description"]


def block(text: str, with_: str) -> str:
    """The one Python block that holds the words ``with_``."""
    (found,) = [code for code in re.findall(r"```python[^\n]*\n(.*?)```", text, re.DOTALL) if with_ in code]
    return found


def hooks_of(model) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_the_readme_of_torch_cam(model, images, prototypes, monkeypatch):
    text = readme("torchcam")
    from torchcam.methods import LayerCAM

    mpl.use("Agg")
    example = block(text, "cam_extractor(out.squeeze(0).argmax().item(), out)")
    (imported,) = re.findall(r"^from torchcam.methods import LayerCAM\n", example, re.MULTILINE)
    results = {}
    for name, extractor in {"theirs": LayerCAM, "ours": partial(torchcam.LPCAM, prototypes=prototypes)}.items():
        names = {"LayerCAM": extractor, "model": model, "input_tensor": images[0], "img": torch.rand(3, 96, 128)}
        exec(example.replace(imported, ""), names)  # noqa: S102
        for picture in ("plt.imshow(activation_map[0]", "overlay_mask(to_pil_image(img)"):
            exec(block(text, picture), names)  # noqa: S102
        results[name] = names["activation_map"]
    (theirs,), (ours,) = results["theirs"], results["ours"]
    assert type(results["ours"]) is type(results["theirs"]) is list
    assert ours.shape == theirs.shape == (1, 3, 4)
    assert ours.dtype == theirs.dtype == torch.float32
    assert not ours.requires_grad
    assert 0 <= float(ours.min()) < float(ours.max()) == 1
    assert hooks_of(model) == 0
    images_maps = lpcam.LPCAM(model, prototypes=prototypes)(images[:1])
    assert torch.allclose(images_maps[0], normalise(sum_high_res([ours], (96, 128))), atol=1e-5)


def test_the_forms_of_torch_cam(model, images, prototypes):
    extractor = torchcam.LPCAM(model, model.layer4, prototypes=prototypes)
    assert extractor.target_names == ["layer4"]
    assert repr(extractor) == "LPCAM(target_layer=['layer4'])"
    with pytest.raises(LpcamError, match="layer 'layer4' was not reached: send images through the model first"):
        extractor(DOG)
    with torch.inference_mode():
        scores = model(images)
    (both,), (dog,) = extractor([DOG, 7], scores), extractor(class_idx=DOG)
    assert both.shape == dog.shape == (2, 3, 4)
    assert torch.equal(both[0], dog[0])
    (raw,) = extractor(DOG, scores, normalized=False)
    assert torch.allclose(normalise(raw), dog, atol=1e-6)
    assert torch.equal(extractor.fuse_cams([dog]), dog)
    extractor.disable_hooks()
    model(images.flip(0))
    assert torch.equal(extractor(DOG)[0], dog)
    extractor.enable_hooks()
    model(images.flip(0))
    assert torch.allclose(extractor(DOG)[0], dog.flip(0), atol=1e-5)
    for asked, message in (
        ({"class_idx": [DOG]}, "classes for 1 images are given and there are 2"),
        ({"class_idx": CLASSES}, f"class {CLASSES} does not exist"),
        ({}, "torch-cam's form wants one class an image"),
    ):
        with pytest.raises(LpcamError, match=message):
            extractor(**asked)
    extractor.reset_hooks()
    with pytest.raises(LpcamError, match="not reached"):
        extractor(DOG)
    extractor.remove_hooks()
    assert hooks_of(model) == 0
    with pytest.raises(LpcamError, match="2 target layers are given"):
        torchcam.LPCAM(model, ["layer3", "layer4"], prototypes=prototypes)
    with pytest.raises(RuntimeError), torchcam.LPCAM(model, ["layer4"], prototypes=prototypes):
        model(images[0, 0])
    assert hooks_of(model) == 0


def test_the_metrics_of_torch_cam(model, images, prototypes):
    metrics = pytest.importorskip("torchcam.metrics")
    with torchcam.LPCAM(model, "layer4", prototypes=prototypes) as extractor:
        metric = metrics.ClassificationMetric(extractor, partial(torch.softmax, dim=-1))
        metric.update(images)
        assert set(metric.summary()) == {"avg_drop", "conf_increase"}


def test_cam_has_the_values_of_torch_cam(model, images):
    methods = pytest.importorskip("torchcam.methods")
    with methods.CAM(model, "layer4", "fc") as extractor, torch.no_grad():
        model(images)
        (theirs,) = extractor([DOG, 7], normalized=False)
    ours = lpcam.CAM(model, "layer4")(images, [DOG, 7])
    for mine, raw in zip(ours, theirs, strict=True):
        expected = normalise(sum_high_res([raw.relu()[None]], (96, 128)), 1e-5)
        assert torch.allclose(mine, expected, atol=1e-5)


def test_cam_is_grad_cam_of_a_network_with_one_linear_layer(model, images):
    GradCAM = pytest.importorskip("pytorch_grad_cam").GradCAM  # noqa: N806
    with torch.no_grad():
        scores = torch.einsum(
            "nchw,kc->nkhw",
            lpcam.live.extractors.TappedModel(model, "layer4").features(images[None])[0][0],
            model.fc.weight,
        )
    corner = int((scores[0, :, 0, 0] < 0).logical_and(scores[0].amax(dim=(1, 2)) > 0.05).nonzero()[0])
    with GradCAM(model=model, target_layers=[model.layer4[-1]]) as cam:
        (theirs,) = cam(input_tensor=images[:1], targets=[lambda output: output[corner]])
    (ours,) = lpcam.CAM(model, "layer4")(images[:1], corner)
    assert np.abs(ours[0].numpy() - theirs).max() < 1e-3


def test_the_readme_of_grad_cam(model, images, prototypes):
    text = readme("grad-cam")
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    left_out = ("from pytorch_grad_cam import", "from torchvision", "model = ", "input_tensor = ")
    example = block(text, "with GradCAM(model=model, target_layers=target_layers) as cam:")
    example = "\n".join(line for line in example.splitlines() if not line.startswith(left_out))
    results = {}
    for name, cam in {"theirs": GradCAM, "ours": partial(gradcam.LPCAM, prototypes=prototypes)}.items():
        names = {
            "GradCAM": cam,
            "model": model,
            "input_tensor": images[:1],
            "rgb_img": np.zeros((96, 128, 3), np.float32),
        }
        exec(example, names)  # noqa: S102
        results[name] = names
    theirs, ours = results["theirs"], results["ours"]
    for name in ("grayscale_cam", "visualization"):
        assert type(ours[name]) is type(theirs[name]) is np.ndarray
        assert ours[name].shape == theirs[name].shape
        assert ours[name].dtype == theirs[name].dtype
    assert ours["grayscale_cam"].shape == (96, 128)
    assert 0 <= ours["grayscale_cam"].min() < ours["grayscale_cam"].max() == 1
    assert torch.allclose(ours["model_outputs"], theirs["model_outputs"], atol=1e-5)
    assert hooks_of(model) == 0
    (plain,) = lpcam.LPCAM(model, prototypes=prototypes)(images[:1], targets=[ClassifierOutputTarget(DOG)])
    assert np.array_equal(ours["grayscale_cam"], plain[0].numpy())


def test_the_forms_of_grad_cam(model, images, prototypes):
    cam = gradcam.LPCAM(model, [model.layer4], prototypes=prototypes)
    predicted = cam(images)
    assert predicted.shape == (2, 96, 128)
    assert predicted.dtype == np.float32
    smooth, mirrored = (cam(input_tensor=x, aug_smooth=True) for x in (images, images.flip(-1)))
    assert np.abs(smooth - mirrored[..., ::-1]).max() < 1e-5  # the mirror is averaged in
    assert np.abs(smooth - predicted).max() > 1e-3
    with pytest.raises(LpcamError, match="eigen_smooth works on channel weights"):
        cam(images, eigen_smooth=True)
    with pytest.raises(LpcamError, match="2 target layers are given"):
        gradcam.LPCAM(model, [model.layer3, model.layer4], prototypes=prototypes)
    with pytest.raises(IndexError), cam:  # noqa: PT012
        cam(images)
        raise IndexError("of the user's own")
    with pytest.raises(LpcamError, match="closed"):
        cam(images)


def test_the_targets_of_grad_cam(model, images):
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    cam = lpcam.CAM(model, "layer4")
    (expected,) = cam(images[:1], DOG)
    for kind in (targets.ClassifierOutputTarget, targets.ClassifierOutputSoftmaxTarget, targets.ClassifierOutputReST):
        assert torch.equal(cam(images[:1], targets=[kind(DOG)])[0], expected)
    for target in (targets.BinaryClassifierOutputTarget(1), targets.SemanticSegmentationTarget(1, np.ones((2, 2)))):
        with pytest.raises(LpcamError, match="does not mean one class"):
            cam(images[:1], targets=[target])
