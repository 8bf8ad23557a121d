"""The dense CRF (Krähenbühl & Koltun, NIPS 2011) with each repository's settings, by pydensecrf2 (extra ``crf``)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpcam.errors import LpcamError

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]


@dataclass(frozen=True)
class CrfSettings:
    """The pairwise terms and the iterations of a dense CRF.

    Attributes:
        gaussian_sxy: Reach of the smoothness term, px.
        gaussian_compat: Its weight.
        bilateral_sxy: Reach of the appearance term in place, px.
        bilateral_srgb: Its reach in colour, of 0..255.
        bilateral_compat: Its weight.
        steps: Mean-field iterations.
    """

    gaussian_sxy: float
    gaussian_compat: float
    bilateral_sxy: float
    bilateral_srgb: float
    bilateral_compat: float
    steps: int = 10


IRN = CrfSettings(3, 3, 50, 5, 10)
PSA = CrfSettings(3, 3, 80, 13, 10)
EDAM = CrfSettings(3, 3, 80, 13, 10, steps=3)
CLIP_ES = CrfSettings(1, 3, 67, 3, 4)
LABEL_CERTAINTY = 0.7
"""How far IRN's unary term trusts a label (``gt_prob``)."""


def require_crf() -> None:
    """Refuse to begin where pydensecrf is missing.

    Raises:
        LpcamError: it cannot be imported.
    """
    _densecrf("densecrf")


def crf_of_labels(
    pixels: Pixels, labels: NDArray[np.int64], count: int, settings: CrfSettings, certainty: float = LABEL_CERTAINTY
) -> NDArray[np.int64]:
    """Return labels smoothed along the edges of the photo; the unary term trusts every label alike, 0 too.

    Args:
        pixels: uint8 [H, W, 3], RGB.
        labels: int64 [H, W] in 0..count-1.
        count: L, number of labels; of one alone nothing changes.
        settings: Of the repository.
        certainty: Probability that a label is right, in (0, 1).

    Returns:
        int64 [H, W].

    Raises:
        LpcamError: pydensecrf is missing.
        ValueError: photo and labels differ in size.
    """
    if count == 1:
        return labels
    unary = _densecrf("utils").unary_from_labels(labels, count, certainty, zero_unsure=False)
    winners: NDArray[np.int64] = _posterior(pixels, unary, (count, *labels.shape), settings).argmax(axis=0)
    return winners


def crf_of_scores(pixels: Pixels, scores: Plane, settings: CrfSettings) -> Plane:
    """Return the posterior of scores that are taken for probabilities (clipped to 1e-5..1, not normalised).

    Args:
        pixels: uint8 [H, W, 3], RGB.
        scores: float32 [L, H, W] in 0..1.
        settings: Of the repository.

    Returns:
        float32 [L, H, W], at every pixel summing to 1.

    Raises:
        LpcamError: pydensecrf is missing.
        ValueError: photo and scores differ in size.
    """
    if len(scores) == 1:
        return np.ones_like(scores)
    return _posterior(pixels, _densecrf("utils").unary_from_softmax(scores), scores.shape, settings)


def _posterior(pixels: Pixels, unary: Plane, shape: tuple[int, ...], settings: CrfSettings) -> Plane:
    count, height, width = shape
    if pixels.shape != (height, width, 3):
        raise ValueError(f"expected a photo [{height}, {width}, 3], got {list(pixels.shape)}")
    field = _densecrf("densecrf").DenseCRF2D(width, height, count)
    field.setUnaryEnergy(np.require(unary, requirements=["C", "W"]))
    field.addPairwiseGaussian(sxy=settings.gaussian_sxy, compat=settings.gaussian_compat)
    field.addPairwiseBilateral(
        sxy=settings.bilateral_sxy,
        srgb=settings.bilateral_srgb,
        rgbim=np.require(pixels, requirements=["C", "W"]),  # it takes no buffer that is read-only
        compat=settings.bilateral_compat,
    )
    return np.array(field.inference(settings.steps), dtype=np.float32).reshape(shape)


def _densecrf(module: str) -> Any:
    try:
        return importlib.import_module(f"pydensecrf.{module}")
    except ImportError as error:
        raise LpcamError(f"the dense CRF needs pydensecrf2 ({error}): pip install 'lpcam[crf]'") from error
