"""Stage 1 in a workspace: ``lpcam extract-features``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lpcam.engines import Placement, Runner, own_device, runs_here
from lpcam.errors import LpcamError
from lpcam.extract import DEFAULT_DTYPE, DEFAULT_SHARD_SIZE, describe, extract, extract_shards, require_kept, shards_of
from lpcam.forward import Forward
from lpcam.locks import folder_lock, working_on
from lpcam.precision import resolve_precision
from lpcam.records import Execution, Progress, StageReport, silent
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import Description, clear, holds_other
from lpcam.views import PUBLISHED_SCALES
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
    require_kept(scales, dtype)
    placement.refuse_overwrite(overwrite, workspace.features)
    split = data.open()
    execution = settled(execution, placement)
    device = own_device(placement, execution.device) if runs_here(placement, execution.device) else "cpu"
    net = classifier.load(len(split.classes), device)
    forward = Forward(net, scales, precision=execution.precision, runtime=execution.runtime)
    description = describe(split, forward, dtype)
    with working_on(folder_lock(workspace.features), stage="lpcam extract-features", share=placement.share().name):
        claim_features(workspace, description, overwrite)
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


def claim_features(workspace: Workspace, description: Description, overwrite: bool) -> None:
    """Remove features where that is wanted, or refuse those of another run.

    Raises:
        LpcamError: they are of another run, and it is not wanted.
    """
    if overwrite:
        clear(workspace.features)
    if holds_other(workspace.features, description):
        raise LpcamError(
            f"{workspace.features} holds features of other photos, labels, weights or options: "
            "add --overwrite to replace them, or choose another --workspace"
        )


def settled(execution: Execution, placement: Placement) -> Execution:
    """Return the execution with the precision that ``auto`` means where the shards are done, the same for all of them.

    Raises:
        LpcamError: nobody knows yet on what machines that is.
    """
    if execution.precision != "auto":
        return execution
    if placement.engine == "ray":
        raise LpcamError(
            "--precision auto follows the machine, and a Ray cluster may have several kinds: "
            "name float32, bfloat16 or float16"
        )
    return replace(execution, precision=resolve_precision("auto", own_device(placement, execution.device)))


@dataclass(frozen=True)
class ExtractionJob:
    """What another process needs to know to extract shards.

    Attributes:
        classifier: Where the classifier comes from.
        folder: Of the store.
        description: What the features are.
        execution: Batch size and workers; its precision is that of the description.
    """

    classifier: ClassifierSource
    folder: Path
    description: Description
    execution: Execution

    def open(self, device: str) -> Runner:
        """Load the classifier and return the function that writes shards."""
        net = self.classifier.load_again(len(self.description.classes), device, self.description.weights_sha256)
        forward = Forward(
            net, self.description.scales, precision=self.description.precision, runtime=self.execution.runtime
        )
        return lambda shards, tick: extract_shards(shards, forward, self.folder, self.description, self.execution, tick)
