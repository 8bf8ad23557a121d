"""What a checkpoint holds: of which architecture it is, for which classes, and what does not fit."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from lpcam.backbones.checkpoints import read_checkpoint, read_head
from lpcam.backbones.families import COMMON
from lpcam.backbones.loading import load_classifier, misfits
from lpcam.backbones.recognition import candidates
from lpcam.errors import LpcamError
from lpcam.inspection.findings import Facts, Findings

_NEAREST = 3


def of_checkpoint(path: Path, arch: str | None = None) -> Findings:
    """Return what a checkpoint holds; where its architecture is not known, a row for each of the nearest.

    Args:
        path: A file of tensors, see `lpcam.backbones.checkpoints.read_checkpoint`.
        arch: The architecture, where it is to be held against one alone.

    Raises:
        LpcamError: it cannot be read, holds more than tensors, or the architecture does not exist.
    """
    tensors = read_checkpoint(path)
    facts = _facts_of(tensors, path)
    tried = {arch: misfits(arch, tensors, str(path))} if arch else _tried(tensors, path)
    found = next((name for name, differs in tried.items() if not differs), None)
    if found is None:
        nearest = sorted(tried, key=lambda name: _distance(tried[name]))[:_NEAREST]
        rows = tuple({"architecture": name, "differs_by": "; ".join(tried[name])} for name in nearest)
        others = f"none of the {len(tried)} architectures tried" if arch is None else "another architecture"
        doubt = f"the names and shapes are those of {others}"
        step = f"lpcam inspect {path} --arch timm/NAME   (or torchvision/NAME: holds it against that one)"
        return Findings("checkpoint", path, {**facts, "arch": None}, rows, (doubt,), (step,))
    return _of_known(path, found, facts)


def of_head(path: Path) -> Findings:
    """Return what a file of class weights holds.

    Raises:
        LpcamError: it is no matrix of finite numbers.
    """
    weights = read_head(path)
    facts = {"classes": weights.shape[0], "channels": weights.shape[1], "bytes": path.stat().st_size}
    return Findings("class weights", path, facts, next_steps=(f"lpcam extract-features … --head {path}",))


def _of_known(path: Path, arch: str, facts: Facts) -> Findings:
    try:
        net = load_classifier(arch, path)
    except LpcamError as error:  # the trunk fits, the head does not
        return Findings("checkpoint", path, {**facts, "arch": arch, "classes": None}, doubts=(str(error),))
    facts = {
        **facts,
        "arch": arch,
        "classes": net.num_classes,
        "channels": net.channels,
        "stride": net.stride,
        "layer": net.layer,
        "sha256": net.sha256,
        "sides_of_sipe": len(net.extras.sides),
        "positiveness_of_cpal": net.extras.positiveness is not None,
    }
    step = f"lpcam extract-features … --arch {arch} --weights {path}"
    return Findings("checkpoint", path, facts, next_steps=(step,))


def _facts_of(tensors: dict[str, Tensor], path: Path) -> Facts:
    kinds = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values())
    return {
        "tensors": len(tensors),
        "numbers": sum(tensor.numel() for tensor in tensors.values()),
        "dtypes": dict(sorted(kinds.items())),
        "bytes": path.stat().st_size,
        "finite": all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values() if tensor.is_floating_point()),
        "first_key": next(iter(tensors)),
    }


def _tried(tensors: dict[str, Tensor], path: Path) -> dict[str, list[str]]:
    """Return how the tensors differ from the architectures that are tried, up to the one they are of."""
    found: dict[str, list[str]] = {}
    for arch in chain(candidates(), COMMON):
        if arch in found:
            continue
        try:
            found[arch] = misfits(arch, tensors, str(path))
        except LpcamError as error:  # two tensors of one name: of another architecture they may be of two
            found[arch] = [str(error)]
        if not found[arch]:
            break
    return found


def _distance(differs: list[str]) -> int:
    """Return how many keys differ; a refusal, which counts none, is the farthest."""
    counts = [line.partition(" ")[0] for line in differs]
    return sum(int(count) if count.isdigit() else 1_000_000 for count in counts)
