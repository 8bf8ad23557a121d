"""Which checkpoints each architecture reads, as rows of the table in docs/backbones.md."""

from __future__ import annotations

from dataclasses import dataclass

COMMON = (
    "torchvision/resnet18",
    "torchvision/resnet50",
    "torchvision/resnet101",
    "torchvision/mobilenet_v2",
    "torchvision/mobilenet_v3_large",
    "torchvision/efficientnet_b0",
    "torchvision/densenet121",
    "torchvision/vgg16",
    "torchvision/convnext_tiny",
    "torchvision/swin_t",
    "torchvision/vit_b_16",
)
"""Networks of torchvision in wide use: what a shell offers, and what a checkpoint of unknown origin is held against."""


@dataclass(frozen=True)
class Family:
    """Checkpoints of one origin for one architecture.

    Attributes:
        arch: As ``--arch`` takes it; NAME stands for any of the origin's networks.
        example: An architecture that can be built, of which channels and stride are read.
        origin: Repository or kind of network the checkpoints come from.
        keys: What tells them apart.
        weights: What stands for w.
    """

    arch: str
    example: str
    origin: str
    keys: str
    weights: str


_IRN = "1×1 `classifier`"

FAMILIES = (
    Family("resnet50", "resnet50", "IRN", "`resnet50.*`, `stageN.*`, `backbone.N.*`", _IRN),
    Family("resnet50", "resnet50", "LPCAM", "as IRN", _IRN),
    Family("resnet50", "resnet50", "ReCAM", "as IRN; `recam_predictor` unread", _IRN),
    Family("resnet50", "resnet50", "AdvCAM", "as IRN", _IRN),
    Family("resnet50", "resnet50", "AMN stage 1", "as IRN", _IRN),
    Family("resnet50", "resnet50", "AMN stage 2", "`label_enc` and 3×3 head unread", "`--head FILE`"),
    Family("resnet50", "resnet50", "SIPE", '`{"net": …}`; `side1` … `side4` for IS-CAM', _IRN),
    Family("resnet38d", "resnet38d", "PSA", "`b2.conv_branch2a` …, `fc8`", "1×1 `fc8`"),
    Family("resnet38d", "resnet38d", "SEAM", "`fc9`; further layers unread", "1×1 `fc9`, background left out"),
    Family("resnet38d", "resnet38d", "EDAM", "a 3×3 layer called mask", "sum over the kernel, background left out"),
    Family("mctformer", "mctformer", "MCTformer V2", "`cls_token` of K tokens, 3×3 `head`", "sum over the kernel"),
    Family("torchvision/NAME", "torchvision/mobilenet_v2", "pooled last", "torchvision's", "the last linear layer"),
    Family(
        "torchvision/NAME",
        "torchvision/convnext_tiny",
        "MobileNet V3, ConvNeXt, VGG",
        "torchvision's",
        "the last linear layer, after the layers before it at every position",
    ),
    Family("torchvision/NAME", "torchvision/swin_t", "Swin, Swin V2", "torchvision's", "`head`"),
    Family("torchvision/NAME", "torchvision/vit_b_16", "ViT", "torchvision's", "`heads.head` on patch tokens"),
    Family("timm/NAME", "timm/resnet26t", "pooled last", "timm's", "the classifier"),
    Family("timm/NAME", "timm/test_convnext", "ConvNeXt, MobileNet V3", "timm's", "the classifier, at every position"),
    Family("timm/NAME", "timm/swin_tiny_patch4_window7_224", "Swin", "timm's", "the classifier"),
    Family("timm/NAME", "timm/vit_tiny_patch16_224", "ViT", "timm's", "the classifier on patch tokens"),
    Family("timm/NAME", "timm/test_vit3", "attention pooling, hidden layers", "timm's", "`--head FILE`"),
    Family(
        "timm/NAME",
        "timm/vit_xsmall_patch16_clip_224",
        "CLIP image towers",
        "timm's",
        "`--head FILE` of text embeddings: cosine after the projection",
    ),
    Family("demo", "demo", "lpcam demo", "its own", "`fc`"),
)


def rows() -> list[tuple[str, ...]]:
    """Return a row for every family: architecture, origin, keys, w, C and output stride.

    Raises:
        LpcamError: timm is not installed.
    """
    return [(f"`{each.arch}`", each.origin, each.keys, each.weights, *_measured(each.example)) for each in FAMILIES]


def _measured(arch: str) -> tuple[str, str]:
    """Return C and the output stride of an architecture when none is asked for."""
    from lpcam.backbones.loading import features_of

    channels, stride = features_of(arch)
    return str(channels), str(stride)
