"""Stage 1 in a workspace: ``lpcam extract-features``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lpcam.engines import Placement, Runner, own_device, runs_here
from lpcam.errors import LpcamError, unknown
from lpcam.extract import DEFAULT_DTYPE, DEFAULT_SHARD_SIZE, describe, extract, extract_shard, shards_of
from lpcam.forward import Forward
from lpcam.records import Execution, Progress, StageReport, silent
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import DTYPES, Description, clear, holds_other
from lpcam.views import PUBLISHED_SCALES, check_scales
from lpcam.workspace import Workspace


def extract_features(
    workspace: Workspace,
    data: DataSource,
    classifier: ClassifierSource,
    *,
    scales: Sequence[float] = PUBLISHED_SCALES,
    dtype: str = DEFAULT_DTYPE,
    shard_size: int = DEFAULT_SHARD_SIZE,
    execution: Execution = Execution(),
    placement: Placement = Placement(),
    overwrite: bool = False,
    progress: Progress = silent,
) -> StageReport:
    """Write the feature store of a split into the workspace.

    Args:
        workspace: Of the run.
        data: The training photos and their image-level labels.
        classifier: The pretrained classifier.
        scales: Of the CAM that splits the features; must hold 1.
        dtype: Of the stored features: ``float16``, ``bfloat16`` or ``float32``.
        shard_size: Photos a shard.
        execution: Device, batch size, workers.
        placement: Engine, processes, and this process's share of the shards.
        overwrite: Replace features of another run.
        progress: Told as the work goes on.

    Raises:
        LpcamError: data, classifier or options cannot be used, or the workspace holds features of another run.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    placement.refuse_overwrite(overwrite, workspace.features)
    split = data.open()
    here = runs_here(placement, execution.device)
    device = own_device(placement, execution.device) if here else "cpu"  # the other processes have the GPUs
    forward = Forward(classifier.load(len(split.classes), device), check_scales(scales))
    description = describe(split, forward, dtype)
    if overwrite:
        clear(workspace.features)
    if holds_other(workspace.features, description):
        raise LpcamError(
            f"{workspace.features} holds features of other photos, labels, weights or options: "
            "add --overwrite to replace them, or choose another --workspace"
        )
    report = extract(
        split,
        forward,
        workspace.features,
        dtype=dtype,
        shard_size=shard_size,
        execution=execution,
        placement=placement,
        job=ExtractionJob(classifier, workspace.features, description, execution),
        sources={"data": data.as_json(), "classifier": classifier.as_json()},
        progress=progress,
    )
    mine = placement.share().of(shards_of(split.photos, shard_size))
    workspace.record_failures("extract-features", report.failures, {photo.name for _, of in mine for photo in of})
    return report


@dataclass(frozen=True)
class ExtractionJob:
    """What another process needs to know to extract shards.

    Attributes:
        classifier: Where the classifier comes from.
        folder: Of the store.
        description: What the features are.
        execution: Batch size and workers.
    """

    classifier: ClassifierSource
    folder: Path
    description: Description
    execution: Execution

    def open(self, device: str) -> Runner:
        """Load the classifier and return the function that writes a shard."""
        net = self.classifier.load_again(len(self.description.classes), device, self.description.weights_sha256)
        forward = Forward(net, self.description.scales)
        return lambda shard, tick: extract_shard(shard, forward, self.folder, self.description, self.execution, tick)
