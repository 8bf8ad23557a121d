"""CAM and LPCAM beside the class activation maps of torch-cam and pytorch-grad-cam, a photo and a class at a time.

All sides get the same view of a photo, float32 [1, 3, H, W] in memory, the same torchvision ResNet-50 with random
weights at its own output stride of 32, and the same class (the one the network scores highest); all return one
normalised map [H, W]. The peers work at one scale, so everything here is at scale 1 without a mirror, which is not how
seeds are made. They are used as their documentation shows it, in torch's default layout; lpcam uses its own, channels
last. Both forwards stand beside them, because the layout alone makes a difference. GradCAM and LayerCAM need gradients,
which torch-cam takes as far back as the layer and pytorch-grad-cam through the whole network; CAM and LPCAM need none.

Folding the prototypes and installing the hooks happens once a run and is not timed. torch-cam leaves its maps at the
size of the features, so they are resized as ours are.

Held equal: for a network of one linear layer after global pooling, CAM and GradCAM are the same map up to a factor. So
lpcam's CAM is compared with torch-cam's CAM and GradCAM before its normalisation, both after a ReLU and divided by
their maximum, and with the finished map of pytorch-grad-cam's GradCAM, normalised as it does. LayerCAM and LPCAM are
other maps.
"""

from __future__ import annotations

import copy
import importlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models  # type: ignore[import-untyped]

from benchmarks.photos import CLASSES, VOC_SIZE, write_classifier, write_photos
from benchmarks.record import Check, Findings, command, measure_in_turns
from lpcam.backbones.classifier import Classifier
from lpcam.datasets import read_photo
from lpcam.methods.cam import class_activation
from lpcam.methods.lpcam import fold, prototype_activation
from lpcam.views import normalise, view

TORCHCAM, GRAD_CAM = "torch-cam", "pytorch-grad-cam"
_MODULES = {TORCHCAM: "torchcam.methods", GRAD_CAM: "pytorch_grad_cam"}
_METHODS = {TORCHCAM: ("CAM", "LayerCAM", "GradCAM"), GRAD_CAM: ("GradCAM", "LayerCAM")}
_STRIDE = 32  # of torchvision's network as it is

Mapper = Callable[[Tensor], Tensor]
"""Takes a view [1, 3, H, W] to a map [H, W]."""


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        arch: One of torchvision's ResNets, whose last stage is ``layer4``.
        photos: How many.
        size: (H, W) of each.
        class_prototypes: P of a class.
        context_prototypes: P' of a class.
        rounds: Times every side is run on all photos.
    """

    arch: str = "resnet50"
    photos: int = 2
    size: tuple[int, int] = VOC_SIZE
    class_prototypes: int = 12
    context_prototypes: int = 9
    rounds: int = 2


DRY = Settings(arch="torchvision/resnet18", size=(64, 96), class_prototypes=3, context_prototypes=2, rounds=1)


def run(settings: Settings) -> Findings:
    """Compare the sides, and say which peers could not be imported."""
    with tempfile.TemporaryDirectory() as folder:
        views, net, network = _inputs(settings, Path(folder))
    with torch.inference_mode():
        labels = [int(network(image).argmax()) for image in views]
    found, left_out = find_peers()
    ours = _our_sides(net, network, views, labels, settings)
    theirs = {
        f"{library} {method}": _peer_side(library, getattr(module, method), network, labels)
        for library, module in found.items()
        for method in _METHODS[library]
    }
    sides = {**ours, **theirs}
    timings = measure_in_turns(
        {name: _on_all(side, views) for name, side in sides.items()}, repeats=settings.rounds, warmup=1
    )
    results = {
        name: {"seconds_a_photo": timing.median / len(views), **timing.as_json()} for name, timing in timings.items()
    }
    cams = [_raw_cam(net, image, label) for image, label in zip(views, labels, strict=True)]
    apart = [
        Check(f"{name}: largest difference from lpcam's CAM", largest, 1e-4, "at most", equality=True)
        for name, largest in _equality(found, network, views, labels, cams).items()
    ]
    return Findings({"sides": results, "left_out": left_out}, (*apart, *_targets(results, list(theirs))))


def find_peers() -> tuple[dict[str, Any], dict[str, str]]:
    """Return the modules of the peers that can be imported, and why the others cannot."""
    found, left_out = {}, {}
    for library, name in _MODULES.items():
        try:
            found[library] = importlib.import_module(name)
        except ImportError as error:
            left_out[library] = f"{error}: pip install -e .[bench]"
            print(f"{library} is left out: {left_out[library]}")
    return found, left_out


def _inputs(settings: Settings, root: Path) -> tuple[list[Tensor], Classifier, nn.Module]:
    """Return the views, lpcam's classifier, and torchvision's network with the same weights."""
    split = write_photos(root, settings.photos, size=settings.size).open()
    source = write_classifier(settings.arch, root / "weights.pth", stride=_STRIDE)
    net = source.load(CLASSES, "cpu").to(memory_format=torch.channels_last)
    network: nn.Module = models.get_model(settings.arch.rpartition("/")[2], weights=None, num_classes=CLASSES).eval()
    network.load_state_dict(torch.load(root / "weights.pth", weights_only=True))
    pixels = [read_photo(photo.path) for photo in split.photos]
    return [view(photo, settings.size, net.mean, net.std)[None] for photo in pixels], net, network


def _our_sides(
    net: Classifier, network: nn.Module, views: Sequence[Tensor], labels: Sequence[int], settings: Settings
) -> dict[str, Callable[[int, Tensor], Tensor]]:
    """Return both forwards and lpcam's maps."""
    rows = net.features(_channels_last(views[0]))[0].flatten(1).T  # cost does not depend on what the prototypes are
    classes, context = settings.class_prototypes, settings.context_prototypes
    folded = torch.stack(
        [fold(rows.roll(label, 0)[:classes], rows.roll(label, 0)[-context:]) for label in range(CLASSES)]
    )
    plain, last = copy.deepcopy(network), copy.deepcopy(network).to(memory_format=torch.channels_last)

    def with_features(activation: Callable[[Tensor, int], Tensor]) -> Callable[[int, Tensor], Tensor]:
        def side(index: int, image: Tensor) -> Tensor:
            maps = activation(net.features(_channels_last(image)), labels[index])
            return _finished(normalise(maps[0]), image)

        return torch.inference_mode()(side)

    return {
        "forward alone, channels first": torch.inference_mode()(lambda _, image: plain(image)),
        "forward alone, channels last": torch.inference_mode()(lambda _, image: last(_channels_last(image))),
        "lpcam CAM": with_features(lambda found, label: class_activation(found, net.class_weights[[label]])),
        "lpcam LPCAM": with_features(lambda found, label: prototype_activation(found, folded[[label]])),
    }


def _peer_side(library: str, method: Any, network: nn.Module, labels: Sequence[int]) -> Callable[[int, Tensor], Tensor]:
    own = copy.deepcopy(network)  # hooks of one peer must not run in another's forward
    if library == TORCHCAM:
        extractor = _torchcam(method, own)
        return lambda index, image: _finished(extractor(image, labels[index], normalized=True), image)
    grad_cam = _grad_cam(method, own)
    return lambda index, image: grad_cam(image, labels[index])


def _torchcam(method: Any, network: nn.Module) -> Callable[..., Tensor]:
    extractor = method(network, "layer4", **({"fc_layer": "fc"} if method.__name__ == "CAM" else {}))
    needs_gradients = method.__name__ != "CAM"

    def call(image: Tensor, label: int, *, normalized: bool) -> Tensor:
        with torch.inference_mode(not needs_gradients):
            scores = network(image)
            maps: Tensor = extractor(label, scores, normalized=normalized)[0]
        return maps.detach()

    return call


def _grad_cam(method: Any, network: Any) -> Callable[[Tensor, int], Tensor]:
    target = importlib.import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    extractor = method(model=network, target_layers=[network.layer4])
    return lambda image, label: torch.from_numpy(extractor(input_tensor=image, targets=[target(label)])[0])


def _equality(
    found: dict[str, Any], network: nn.Module, views: Sequence[Tensor], labels: Sequence[int], cams: Sequence[Tensor]
) -> dict[str, float]:
    """Return how far every peer's map that must be CAM is from ``cams``, lpcam's own [h, w] of every view."""
    largest: dict[str, float] = {}
    for image, label, cam in zip(views, labels, cams, strict=True):
        for name, (theirs, ours) in _same_maps(found, network, image, label, cam).items():
            largest[name] = max(largest.get(name, 0.0), float((theirs - ours).abs().max()))
    return largest


def _same_maps(
    found: dict[str, Any], network: nn.Module, image: Tensor, label: int, cam: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return pairs of a peer's map and ours, brought to the same normalisation."""
    pairs = {}
    for method in ("CAM", "GradCAM") if TORCHCAM in found else ():
        raw = _torchcam(getattr(found[TORCHCAM], method), copy.deepcopy(network))
        theirs = raw(image, label, normalized=False).relu()
        pairs[f"{TORCHCAM} {method}"] = (normalise(theirs)[0], normalise(cam[None])[0])
    if GRAD_CAM in found:
        theirs = _grad_cam(found[GRAD_CAM].GradCAM, copy.deepcopy(network))(image, label)
        pairs[f"{GRAD_CAM} GradCAM"] = (theirs, _min_max(_finished(_min_max(cam)[None], image)))
    return pairs


@torch.inference_mode()
def _raw_cam(net: Classifier, image: Tensor, label: int) -> Tensor:
    return class_activation(net.features(_channels_last(image)), net.class_weights[[label]])[0, 0]


def _min_max(image: Tensor) -> Tensor:
    return (image - image.min()) / (image.max() - image.min())


def _finished(maps: Tensor, image: Tensor) -> Tensor:
    """Resize a map [1, h, w] to the photo: [H, W]."""
    return F.interpolate(maps[None], image.shape[-2:], mode="bilinear", align_corners=False)[0, 0]


def _channels_last(image: Tensor) -> Tensor:
    return image.contiguous(memory_format=torch.channels_last)


def _on_all(side: Callable[[int, Tensor], Tensor], views: Sequence[Tensor]) -> Callable[[], object]:
    return lambda: [side(index, image) for index, image in enumerate(views)]


def _targets(results: dict[str, Any], peers: Sequence[str]) -> list[Check]:
    seconds = {name: found["median"] for name, found in results.items()}
    ours = seconds["lpcam LPCAM"]
    checks = [
        Check(
            "LPCAM: seconds over those of the forward alone",
            ours / seconds["forward alone, channels last"],
            1.1,
            "at most",
        ),
        Check("LPCAM: seconds over those of lpcam's CAM", ours / seconds["lpcam CAM"], 1.05, "at most"),
    ]
    if peers:
        fastest = min(peers, key=seconds.__getitem__)
        checks.append(
            Check(f"LPCAM: seconds over those of the fastest peer ({fastest})", ours / seconds[fastest], 1, "at most")
        )
    return checks


if __name__ == "__main__":
    command("peers", __doc__ or "", run, full=Settings(), dry=DRY)
