"""MCTformer (Xu et al., CVPR 2022): ``python -m lpcam.dropin.mctformer`` in place of ``main.py``.

LPCAM stands in the place of the PatchCAM. ``--attention-type fused`` multiplies it by the attention of class tokens,
and ``--patch-attn-refine`` spreads that by the attention among patches; ``patchcam`` leaves it as it is. Attention is
summed over all blocks, so ``--layer-index`` is not needed.
"""

from __future__ import annotations

from lpcam.dropin.arguments import Argument, Bag, existing
from lpcam.dropin.repository import Repository
from lpcam.dropin.seeding import Order
from lpcam.errors import LpcamError

_LISTS = ("train_aug_id.txt", "train_id.txt")
_ARGUMENTS = (
    Argument("data-path", "folder with JPEGImages", needed=True),
    Argument("img-list", "folder that holds train_aug_id.txt or train_id.txt, or a list", needed=True),
    Argument("resume", "checkpoint of the classifier", needed=True),
    Argument("cam-npy-dir", "folder of the seeds", needed=True),
    Argument("label-file-path", "image-level labels, cls_labels.npy"),
    Argument("scales", "scales of the views", default=(1.0,), many=True),
    Argument("attention-type", "fused, or patchcam for maps without attention", default="fused"),
    Argument("patch-attn-refine", "spread the maps by the attention among patches", switch=True, default=False),
    Argument("num_workers", "threads that read photos ahead", default=1),
)


def _order(bag: Bag) -> Order:
    listed = bag.path("img-list")
    return Order(
        weights=existing([bag.path("resume")], "resume"),
        root=bag.path("data-path"),
        photos=existing([listed / name for name in _LISTS] if listed.is_dir() else [listed], "img-list"),
        out=bag.path("cam-npy-dir"),
        refiner="mctformer",
        scales=bag.numbers("scales"),
        workers=bag.count("num_workers"),
        attention=_attention(bag),
        labels=bag.optional_path("label-file-path"),
    )


def _attention(bag: Bag) -> str | None:
    if bag["attention-type"] not in ("fused", "patchcam"):
        raise LpcamError(
            f"attention-type is '{bag['attention-type']}': give fused, or patchcam, where LPCAM has a place"
        )
    if bag["attention-type"] == "patchcam":
        return None
    return "refine" if bag["patch-attn-refine"] else "fuse"


REPOSITORY = Repository(
    name="mctformer",
    title="MCTformer",
    replaces="python main.py --gen_attention_maps",
    by="python -m lpcam.dropin.mctformer",
    arguments=_ARGUMENTS,
    unneeded=("model", "data-set", "gen_attention_maps", "layer-index", "attention-dir"),
    refiner="mctformer",
    order=_order,
    writes="{cam-npy-dir}/{name}.npy",
)
run = REPOSITORY.run

if __name__ == "__main__":
    raise SystemExit(REPOSITORY.main())
