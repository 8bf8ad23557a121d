"""SEAM (Wang et al., CVPR 2020): ``python -m lpcam.dropin.seam`` in place of ``python infer_SEAM.py``."""

from __future__ import annotations

from lpcam.dropin import psa_family
from lpcam.dropin.arguments import Argument, Bag
from lpcam.dropin.psa_family import Extra
from lpcam.dropin.repository import Repository
from lpcam.dropin.seeding import Order

_ALPHAS = (4.0, 24.0)
_ARGUMENTS = (
    *psa_family.ARGUMENTS,
    psa_family.INFER_LIST,
    Argument("out_crf", "folders of the CRF dictionaries, without the _4.0 and _24.0 that are appended"),
    psa_family.OUT_CAM_PRED,
    Argument("out_cam_pred_alpha", "background of the label PNGs", kind=float, default=psa_family.SEED_BACKGROUND),
)


def _order(bag: Bag) -> Order:
    return psa_family.order(
        bag,
        "seam",
        *(Extra("out_crf", psa_family.scores(alpha), f"_{alpha:.1f}") for alpha in _ALPHAS),
        Extra("out_cam_pred", psa_family.labels(bag.number("out_cam_pred_alpha"))),
    )


REPOSITORY = Repository(
    name="seam",
    title="SEAM",
    replaces="python infer_SEAM.py",
    by="python -m lpcam.dropin.seam",
    arguments=_ARGUMENTS,
    unneeded=psa_family.UNNEEDED,
    refiner="seam",
    order=_order,
    writes="{out_cam}/{name}.npy, {out_crf}_4.0/{name}.npy, {out_crf}_24.0/{name}.npy, {out_cam_pred}/{name}.png",
)
run = REPOSITORY.run

if __name__ == "__main__":
    raise SystemExit(REPOSITORY.main())
