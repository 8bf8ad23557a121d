"""What the repositories have no argument for: extra attributes ``lpcam_…`` of their args, or variables ``LPCAM_…``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from lpcam.errors import LpcamError
from lpcam.profiles import Profile, get_profile


@dataclass(frozen=True)
class Knobs:
    """Options of lpcam; None leaves the library's default.

    Attributes:
        method: ``lpcam``, ``cam`` or ``class-prototypes``.
        profile: Published hyper-parameters, ``voc`` or ``coco``.
        k: Centres on each side of a class.
        tau: CAM threshold between object and rest.
        class_threshold: Least z of a class prototype.
        context_low: z of a context prototype is above this.
        context_high: z of a context prototype is below this.
        filter: Which centres become prototypes: ``auto``, ``softmax``, ``rank`` or ``quantile``.
        seed: Of the clustering.
        arch: Architecture of the checkpoint, where its names do not tell.
        weights: Checkpoint in place of the repository's.
        stride: Output stride in px.
        labels: Image-level labels (CSV or ``cls_labels.npy``) in place of those found.
        classes: File of class names, in place of VOC's twenty.
        workspace: Folder of the run, in place of the one beside the output.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        processes: Workers; by default one a GPU.
        batch_size: Photos of one size that share a forward pass.
        precision: Of the forward passes: ``float32``, ``bfloat16``, ``float16`` or ``auto``.
        overwrite: Replace what another run left in the workspace and the output folder.
    """

    method: str | None = None
    profile: str | None = None
    k: int | None = None
    tau: float | None = None
    class_threshold: float | None = None
    context_low: float | None = None
    context_high: float | None = None
    filter: str | None = None
    seed: int | None = None
    arch: str | None = None
    weights: Path | None = None
    stride: int | None = None
    labels: Path | None = None
    classes: Path | None = None
    workspace: Path | None = None
    device: str | None = None
    processes: int | None = None
    batch_size: int | None = None
    precision: str | None = None
    overwrite: bool | None = None

    @classmethod
    def read(cls, args: object, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the attributes ``lpcam_NAME`` of the bag, and where they are absent the variables ``LPCAM_NAME``.

        Raises:
            LpcamError: a value cannot be understood.

        >>> Knobs.read(object(), {"LPCAM_K": "7", "LPCAM_OVERWRITE": "1"})
        Knobs(k=7, overwrite=True)
        """
        found = {}
        for name in NAMES:
            value = getattr(args, f"lpcam_{name}", environment.get(variable(name)))
            if value is not None and value != "":
                found[name] = _converted(name, value)
        return cls(**found)

    def given(self, *names: str) -> dict[str, Any]:
        """Return those of some options that were given."""
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def as_profile(self) -> Profile:
        """Return the hyper-parameters.

        Raises:
            LpcamError: the profile does not exist, or a value is out of range.
        """
        changes = self.given("k", "tau", "class_threshold", "context_low", "context_high", "filter")
        return get_profile(*self.given("profile").values(), **changes)

    def __repr__(self) -> str:
        """Return the options that were given."""
        return f"Knobs({', '.join(f'{name}={value!r}' for name, value in self.given(*NAMES).items())})"


NAMES = tuple(field.name for field in fields(Knobs))


def variable(name: str) -> str:
    """Return the environment variable of an option.

    >>> variable("batch_size")
    'LPCAM_BATCH_SIZE'
    """
    return f"LPCAM_{name.upper()}"


def in_their_words(message: str) -> str:
    """Return an error's line with lpcam's options as the variables a drop-in's user can set.

    Whole commands stay as they are.

    >>> in_their_words("add --overwrite to replace them, or choose another --workspace")
    'add LPCAM_OVERWRITE=… to replace them, or choose another LPCAM_WORKSPACE=…'
    """
    return re.sub(r"'lpcam [^']*'|--([a-z-]+)", _as_variable, message)


def _as_variable(match: re.Match[str]) -> str:
    name = (match[1] or "").replace("-", "_")
    return f"{variable(name)}=…" if name in NAMES else match[0]


def _converted(name: str, value: Any) -> Any:
    try:
        return _KINDS.get(name, str)(str(value))
    except ValueError:
        raise LpcamError(f"{variable(name)} is '{value}': give {_EXPECTED[_KINDS[name]]}") from None


def _switch(text: str) -> bool:
    if text.lower() not in _SWITCH:
        raise ValueError(text)
    return _SWITCH[text.lower()]


_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_KINDS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("k", "seed", "stride", "processes", "batch_size"), int),
    **dict.fromkeys(("tau", "class_threshold", "context_low", "context_high"), float),
    **dict.fromkeys(("weights", "labels", "classes", "workspace"), Path),
    "overwrite": _switch,
}
_EXPECTED: dict[Callable[[str], Any], str] = {int: "a whole number", float: "a number", _switch: "1 or 0"}
