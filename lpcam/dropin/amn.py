"""AMN (Lee, Kim & Shim, CVPR 2022): ``import lpcam.dropin.amn as make_amn_cam`` in place of ``step.make_amn_cam``.

The second stage's seeds, with their background channel, straight from the first stage's classifier: LPCAM needs no
second network, so ``amn_network``, ``amn_weights_name`` and ``eps`` are not needed. To take another checkpoint name it
in ``LPCAM_WEIGHTS``. In place of its first stage's ``step.make_cam`` stands `lpcam.dropin.irn`.
"""

from __future__ import annotations

from lpcam.dropin import irn_family
from lpcam.dropin.arguments import Argument, Bag
from lpcam.dropin.repository import Repository
from lpcam.dropin.seeding import Order

_OUT = Argument("amn_cam_out_dir", "folder of the seeds", needed=True)


def _order(bag: Bag) -> Order:
    return irn_family.order(bag, irn_family.weights_with_suffix(bag), bag.path(_OUT.name), "amn")


REPOSITORY = Repository(
    name="amn",
    title="AMN's second stage",
    replaces="import step.make_amn_cam as make_amn_cam",
    by="import lpcam.dropin.amn as make_amn_cam",
    arguments=(*irn_family.WITHOUT_OUTPUT, _OUT),
    unneeded=(*irn_family.UNNEEDED, "cam_out_dir", "amn_network", "amn_weights_name", "eps"),
    refiner="amn",
    order=_order,
    writes="{amn_cam_out_dir}/{name}.npy",
    flags=irn_family.THRESHOLDS,
)
run = REPOSITORY.run

if __name__ == "__main__":
    raise SystemExit(REPOSITORY.main())
