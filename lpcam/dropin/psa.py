"""PSA (Ahn & Kwak, CVPR 2018): ``python -m lpcam.dropin.psa`` in place of ``python infer_cls.py``."""

from __future__ import annotations

from lpcam.dropin import psa_family
from lpcam.dropin.arguments import Argument, Bag
from lpcam.dropin.psa_family import Extra
from lpcam.dropin.repository import Repository
from lpcam.dropin.seeding import Order

_ARGUMENTS = (
    *psa_family.ARGUMENTS,
    psa_family.INFER_LIST,
    Argument("low_alpha", "α of the dictionaries in out_la_crf", kind=float, default=4.0),
    Argument("high_alpha", "α of the dictionaries in out_ha_crf", kind=float, default=32.0),
    Argument("out_la_crf", "folder of the CRF dictionaries with much background"),
    Argument("out_ha_crf", "folder of the CRF dictionaries with little background"),
    psa_family.OUT_CAM_PRED,
)


def _order(bag: Bag) -> Order:
    return psa_family.order(
        bag,
        "psa",
        Extra("out_la_crf", psa_family.scores(bag.number("low_alpha"))),
        Extra("out_ha_crf", psa_family.scores(bag.number("high_alpha"))),
        Extra("out_cam_pred", psa_family.labels(psa_family.SEED_BACKGROUND)),
    )


REPOSITORY = Repository(
    name="psa",
    title="PSA",
    replaces="python infer_cls.py",
    by="python -m lpcam.dropin.psa",
    arguments=_ARGUMENTS,
    unneeded=psa_family.UNNEEDED,
    refiner="psa",
    order=_order,
    writes="{out_cam}/{name}.npy, {out_la_crf}/{name}.npy, {out_ha_crf}/{name}.npy, {out_cam_pred}/{name}.png",
)
run = REPOSITORY.run

if __name__ == "__main__":
    raise SystemExit(REPOSITORY.main())
