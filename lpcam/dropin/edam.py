"""EDAM (Wu et al., CVPR 2021): ``python -m lpcam.dropin.edam`` in place of ``python infer_cls.py``.

θ, α and β of the label PNGs are .2, 1e-6 and .99999 where they are not given. ``--out_crf_pred``, labels made from the
CRF and the saliency, is not written: the repository makes them itself from ``--out_crf``.
"""

from __future__ import annotations

from pathlib import Path

from lpcam.crf import EDAM
from lpcam.dropin import psa_family
from lpcam.dropin.arguments import Argument, Bag
from lpcam.dropin.psa_family import Extra
from lpcam.dropin.repository import Repository
from lpcam.dropin.seeding import Order
from lpcam.errors import LpcamError
from lpcam.refiners.label_parts import SaliencyLabels
from lpcam.refiners.parts import Part

_CRF_ALPHA = 1.0
_ARGUMENTS = (
    *psa_family.ARGUMENTS,
    psa_family.INFER_LIST,
    Argument("out_crf", "folder of the CRF dictionaries"),
    psa_family.OUT_CAM_PRED,
    Argument("sal_path", "folder of saliency maps, {name}.png; out_cam_pred needs it"),
    Argument("theta", "saliency of the background, at most", kind=float, default=SaliencyLabels.theta),
    Argument("alpha", "a map below this is not the class", kind=float, default=SaliencyLabels.alpha),
    Argument("beta", "a map above this is the class", kind=float, default=SaliencyLabels.beta),
    Argument("out_crf_pred", "not written: leave it out"),
)


def _order(bag: Bag) -> Order:
    if bag["out_crf_pred"]:
        raise LpcamError(
            "out_crf_pred is not written by lpcam: give --out_cam_pred, or --out_crf and make the labels from it "
            "with the repository's own script"
        )
    return psa_family.order(
        bag,
        "edam",
        Extra("out_crf", psa_family.scores(_CRF_ALPHA, EDAM)),
        Extra("out_cam_pred", lambda folder: _labels(bag, folder)),
    )


def _labels(bag: Bag, folder: str) -> Part:
    if not bag["sal_path"]:
        raise LpcamError("out_cam_pred is made of maps and saliency: give --sal_path the folder of saliency maps")
    saliency = Path(str(bag["sal_path"])).resolve()
    return SaliencyLabels(folder, saliency, bag.number("theta"), bag.number("alpha"), bag.number("beta"))


REPOSITORY = Repository(
    name="edam",
    title="EDAM",
    replaces="python infer_cls.py",
    by="python -m lpcam.dropin.edam",
    arguments=_ARGUMENTS,
    unneeded=psa_family.UNNEEDED,
    refiner="edam",
    order=_order,
    writes="{out_cam}/{name}.npy, {out_crf}/{name}.npy, {out_cam_pred}/{name}.png",
)
run = REPOSITORY.run

if __name__ == "__main__":
    raise SystemExit(REPOSITORY.main())
