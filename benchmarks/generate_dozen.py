"""The comparison of `benchmarks/generate_speed.py` on a dozen photos, three a round: ResNet-50 alone.

Every runtime is in it, torch.compile by its forwards alone. Where the processor has bfloat16 units the record is
`generate_dozen_bfloat16`, so that both kinds of machine stand side by side. Not part of ``make bench``, which measures
fewer photos.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.generate_speed import DRY, Settings, has_bfloat16_units, run
from benchmarks.record import command

DOZEN = Settings(
    archs=("resnet50",),
    photos=12,
    rounds=4,
    compiled=True,
    variants=(
        ("float32", "fused"),
        ("float32", "torch"),
        ("float32", "openvino"),
        ("bfloat16", "torch"),
        ("bfloat16", "openvino"),
    ),
)

if __name__ == "__main__":
    name = "generate_dozen_bfloat16" if has_bfloat16_units() else "generate_dozen"
    command(name, __doc__ or "", run, full=DOZEN, dry=replace(DRY, variants=DRY.variants[:1]))
