"""LPCAM's own repository: ``import lpcam.dropin.lpcam as make_lpcam`` in place of ``step.make_lpcam``."""

from __future__ import annotations

from lpcam.dropin import irn_family
from lpcam.dropin.arguments import Argument, Bag
from lpcam.dropin.repository import Repository
from lpcam.dropin.seeding import Order

_OUT = Argument("lpcam_out_dir", "folder of the seeds", default="lpcam_mask")


def _order(bag: Bag) -> Order:
    weights = irn_family.weights_in_work_space(bag)
    return irn_family.order(bag, weights, bag.within("work_space", _OUT.name), "lpcam")


REPOSITORY = Repository(
    name="lpcam",
    title="the LPCAM repository",
    replaces="import step.make_lpcam as make_lpcam",
    by="import lpcam.dropin.lpcam as make_lpcam",
    arguments=(irn_family.WORK_SPACE, *irn_family.WITHOUT_OUTPUT, _OUT),
    unneeded=(*irn_family.UNNEEDED, "cam_out_dir"),
    refiner="lpcam",
    order=_order,
    writes="{work_space}/{lpcam_out_dir}/{name}.npy",
    flags=irn_family.THRESHOLDS,
)
run = REPOSITORY.run

if __name__ == "__main__":
    raise SystemExit(REPOSITORY.main())
