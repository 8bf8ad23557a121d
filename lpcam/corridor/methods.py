"""The methods by name, and what the corridor makes each of them of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from lpcam.backbones.classifier import Classifier
from lpcam.discriminants import Discriminants
from lpcam.errors import LpcamError, unknown
from lpcam.methods import Method
from lpcam.methods.cam import Cam
from lpcam.methods.fisher import Fisher
from lpcam.methods.iscam import BACKGROUND_WEIGHT, LEVELS, IsCam
from lpcam.methods.lpcam import Lpcam
from lpcam.methods.pacam import Awareness, Pacam
from lpcam.propagation import Propagation
from lpcam.prototypes import Prototypes
from lpcam.support import Support
from lpcam.workspace import Workspace

DEFAULT_METHOD = "lpcam"
GENERALS = ("cam", "lpcam")
Made = TypeVar("Made", Prototypes, Support, Discriminants)


@dataclass(frozen=True)
class MethodSettings:
    """What a user may choose about the methods.

    Attributes:
        iscam_from: Method of the general maps that IS-CAM starts from, one of `GENERALS`.
        iscam_background: Weight of the background's structure similarity, as published ½.
        iscam_labels_only: See `lpcam.methods.iscam.IsCam`.
        iscam_levels: Levels of the network that IS-CAM compares, the last ones, as published 4.
        pacam: How PACAM weighs the context.
        propagation: What is done with the maps of every method.

    Raises:
        LpcamError: a choice is unknown or out of range.
    """

    iscam_from: str = GENERALS[0]
    iscam_background: float = BACKGROUND_WEIGHT
    iscam_labels_only: bool = False
    iscam_levels: int = LEVELS
    pacam: Awareness = field(default_factory=Awareness)
    propagation: Propagation = Propagation()

    def __post_init__(self) -> None:
        if self.iscam_from not in GENERALS:
            raise unknown("method for --iscam-from", self.iscam_from, GENERALS)
        if not 0 <= self.iscam_background <= 1:
            raise LpcamError(f"iscam-background is {self.iscam_background}: choose a value in 0..1")
        if not 1 <= self.iscam_levels <= LEVELS:
            raise LpcamError(f"iscam-levels is {self.iscam_levels}: choose 1 to {LEVELS}")

    def of(self, method: str) -> dict[str, Any]:
        """Return what of this matters to the maps of a method before they are propagated, by name, JSON values only."""
        if method == "pacam":
            return {name: value for name, value in vars(self.pacam).items() if name != "tau"}  # the support says it
        if method == "iscam":
            return {name: value for name, value in vars(self).items() if name.startswith("iscam")}
        return {}


@dataclass(frozen=True)
class Means:
    """What methods are made of; files are read when a method first needs them.

    Attributes:
        net: The classifier, on its device.
        features: Fingerprint of the features the files must have been made from.
        prototypes_file: LPCAM's prototypes.
        support_file: CPAL's context prototypes.
        discriminants_file: Fisher's vectors.
        settings: The user's choices.
    """

    net: Classifier
    features: str
    prototypes_file: Path
    support_file: Path
    discriminants_file: Path
    settings: MethodSettings = MethodSettings()

    @classmethod
    def of(cls, workspace: Workspace, net: Classifier, features: str, settings: MethodSettings) -> Means:
        """Return those of a workspace."""
        files = (workspace.prototypes, workspace.support, workspace.discriminants)
        prototypes, support, discriminants = (path.resolve() for path in files)
        return cls(net, features, prototypes, support, discriminants, settings)

    @cached_property
    def prototypes(self) -> Prototypes:
        """LPCAM's prototypes, checked.

        Raises:
            LpcamError: they are missing, damaged, or of another classifier or other features.
        """
        return self._checked(Prototypes.load, self.prototypes_file, "lpcam cluster --overwrite")

    @cached_property
    def support(self) -> Support:
        """CPAL's context prototypes, checked.

        Raises:
            LpcamError: they are missing, damaged, or of another classifier or other features.
        """
        return self._checked(Support.load, self.support_file, "lpcam cluster --method pacam --overwrite")

    @cached_property
    def discriminants(self) -> Discriminants:
        """Fisher's vectors, checked.

        Raises:
            LpcamError: they are missing, damaged, or of another classifier or other features.
        """
        return self._checked(Discriminants.load, self.discriminants_file, "lpcam cluster --method fisher --overwrite")

    def made_by(self, method: str) -> dict[str, Any]:
        """Return what the seeds of a method depend on beside the classifier, JSON values only."""
        settings = self.settings.of(method)
        files = {
            "prototypes": self.prototypes.sha256 if _reads_prototypes(method, self.settings) else None,
            **({"support": self.support.sha256} if method == "pacam" else {}),
            **({"discriminants": self.discriminants.sha256} if method == "fisher" else {}),
        }
        propagation = self.settings.propagation.as_json()
        return {
            **files,
            **({"settings": settings} if settings else {}),
            **({"propagation": propagation} if propagation else {}),
        }

    def _checked(self, load: Callable[[Path], Made], path: Path, repair: str) -> Made:
        """Return what lies in a file, if it was made with this classifier from these features."""
        loaded, net = load(path), self.net
        made = loaded.provenance
        if (made.weights_sha256, made.layer, made.stride) != (net.sha256, net.layer, net.stride):
            raise LpcamError(
                f"{path} was made with other weights, layer or stride than this classifier's: "
                f"run '{repair}', or use its own workspace"
            )
        if made.features != self.features:
            raise LpcamError(f"{path} was made from other features than the workspace's: run '{repair}'")
        return loaded


def make_method(name: str, means: Means) -> Method:
    """Return a method.

    Args:
        name: One of `METHODS`.
        means: What it is made of.

    Raises:
        LpcamError: it is unknown, or what it needs is missing.
    """
    if name not in _METHODS:
        raise unknown("method", name, _METHODS)
    return _METHODS[name](means)


def _cam(means: Means) -> Cam:
    return Cam(means.net.class_weights)


def _lpcam(means: Means, *, context: bool = True) -> Lpcam:
    return Lpcam(means.prototypes.folded(context=context).to(means.net.class_weights.device))


def _iscam(means: Means) -> IsCam:
    settings, device = means.settings, means.net.class_weights.device
    return IsCam(
        _lpcam(means) if settings.iscam_from == "lpcam" else _cam(means),
        tuple(side.to(device) for side in means.net.extras.sides),
        settings.iscam_background,
        settings.iscam_labels_only,
        settings.iscam_levels,
    )


def _pacam(means: Means) -> Pacam:
    awareness, weights = means.settings.pacam, means.net.class_weights
    projection = means.net.extras.positiveness
    if awareness.metric == "learned" and projection is None:
        raise LpcamError(
            "this classifier has no learned positiveness: train it with 'lpcam train cpal --metric learned', "
            "or give another --pacam-metric"
        )
    context = tuple(entry.vectors.to(weights.device) for entry in means.support.context)
    awareness = replace(awareness, tau=means.support.provenance.profile.tau)
    return Pacam(weights, context, awareness, None if projection is None else projection.to(weights.device))


def _fisher(means: Means) -> Fisher:
    lines, device = means.discriminants.lines, means.net.class_weights.device
    return Fisher(lines.vectors.to(device), lines.offsets.to(device))


_METHODS: dict[str, Callable[[Means], Method]] = {
    "cam": _cam,
    "lpcam": _lpcam,
    "class-prototypes": lambda means: _lpcam(means, context=False),
    "iscam": _iscam,
    "pacam": _pacam,
    "fisher": _fisher,
}
METHODS = tuple(_METHODS)
"""``class-prototypes`` is LPCAM without the context prototypes, the paper's ablation."""


def _reads_prototypes(method: str, settings: MethodSettings) -> bool:
    return method in ("lpcam", "class-prototypes") or (method == "iscam" and settings.iscam_from == "lpcam")
