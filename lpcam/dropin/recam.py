"""ReCAM (Chen et al., CVPR 2022): ``import lpcam.dropin.recam as make_cam`` in place of ``step.make_cam``."""

from __future__ import annotations

from lpcam.dropin import irn_family
from lpcam.dropin.arguments import Bag
from lpcam.dropin.repository import Repository
from lpcam.dropin.seeding import Order


def _order(bag: Bag) -> Order:
    weights = irn_family.weights_in_work_space(bag)
    return irn_family.order(bag, weights, bag.within("work_space", "cam_out_dir"), "recam")


REPOSITORY = Repository(
    name="recam",
    title="ReCAM",
    replaces="import step.make_cam as make_cam",
    by="import lpcam.dropin.recam as make_cam",
    arguments=(irn_family.WORK_SPACE, *irn_family.ARGUMENTS),
    unneeded=irn_family.UNNEEDED,
    refiner="recam",
    order=_order,
    writes="{work_space}/{cam_out_dir}/{name}.npy",
    flags=irn_family.THRESHOLDS,
)
run = REPOSITORY.run

if __name__ == "__main__":
    raise SystemExit(REPOSITORY.main())
