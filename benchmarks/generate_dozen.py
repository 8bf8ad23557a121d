"""The comparison of `benchmarks/generate_speed.py` on a dozen photos, three a round: ResNet-50 alone, seven minutes.

Not part of ``make bench``, which measures fewer photos.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.generate_speed import DRY, Settings, run
from benchmarks.record import command

DOZEN = Settings(archs=("resnet50",), photos=12, rounds=4)

if __name__ == "__main__":
    command("generate_dozen", __doc__ or "", run, full=DOZEN, dry=replace(DRY, variants=DRY.variants[:1]))
