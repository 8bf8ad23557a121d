"""IRN (Ahn, Cho & Kwak, CVPR 2019): ``import lpcam.dropin.irn as make_cam`` in place of ``step.make_cam``."""

from __future__ import annotations

from lpcam.dropin import irn_family
from lpcam.dropin.arguments import Bag
from lpcam.dropin.repository import Repository
from lpcam.dropin.seeding import Order


def _order(bag: Bag) -> Order:
    return irn_family.order(bag, irn_family.weights_with_suffix(bag), bag.path("cam_out_dir"), "irn")


REPOSITORY = Repository(
    name="irn",
    title="IRN",
    replaces="import step.make_cam as make_cam",
    by="import lpcam.dropin.irn as make_cam",
    arguments=irn_family.ARGUMENTS,
    unneeded=irn_family.UNNEEDED,
    refiner="irn",
    order=_order,
    writes="{cam_out_dir}/{name}.npy",
    flags=irn_family.THRESHOLDS,
)
run = REPOSITORY.run

if __name__ == "__main__":
    raise SystemExit(REPOSITORY.main())
