"""What a shell may complete an option's value to; the library's own lists would import torch, which takes too long."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from lpcam.backbones.families import COMMON

Complete = Callable[[click.Context, click.Parameter, str], list[str]]

METHODS = ("lpcam", "cam", "class-prototypes", "iscam", "pacam", "fisher")
DATASETS = ("voc", "coco", "folder", "demo")
OWN_ARCHITECTURES = ("resnet50", "resnet38d", "mctformer", "demo")
OTHERS = "timm/"
ARCHITECTURES = (*OWN_ARCHITECTURES, *COMMON, OTHERS)
DTYPES = ("float16", "bfloat16", "float32")
PRECISIONS = ("float32", "auto", "bfloat16", "float16")
RUNTIMES = ("fused", "torch", "compile", "openvino")
ENGINES = ("auto", "local", "ray")
KMEANS = ("auto", "faiss", "torch")
DEVICES = ("auto", "cpu", "cuda")
EDGES = ("pamr", "crf")
ATTENTIONS = ("fuse", "refine")
METRICS = ("dot", "cosine", "euclidean", "learned")
FORMATS = ("onnx", "pt2")
CLUSTERED = ("lpcam", "pacam", "fisher")


def one_of(values: Sequence[str]) -> Complete:
    """Return what completes to one of some values."""

    def complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
        return [value for value in values if value.startswith(begun)]

    return complete


def several_of(values: Sequence[str]) -> Complete:
    """Return what completes the last of several values, which are separated by commas."""

    def complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
        before, comma, last = begun.rpartition(",")
        named = before.split(",")
        return [f"{before}{comma}{value}" for value in values if value.startswith(last) and value not in named]

    return complete
