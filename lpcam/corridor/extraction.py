"""Stage 1 in a workspace: ``lpcam extract-features``."""

from __future__ import annotations

from collections.abc import Sequence

from lpcam.errors import LpcamError, unknown
from lpcam.extract import DEFAULT_DTYPE, DEFAULT_SHARD_SIZE, describe, extract
from lpcam.forward import Forward, resolve_device
from lpcam.records import Execution, Progress, StageReport, silent
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import DTYPES, clear, holds_other
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
        overwrite: Replace features of another run.
        progress: Told as the work goes on.

    Raises:
        LpcamError: data, classifier or options cannot be used, or the workspace holds features of another run.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    split = data.open()
    net = classifier.load(len(split.classes), resolve_device(execution.device))
    forward = Forward(net, scales, precision=execution.precision, compiled=execution.compiled)
    if overwrite:
        clear(workspace.features)
    if holds_other(workspace.features, describe(split, forward, dtype)):
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
        sources={"data": data.as_json(), "classifier": classifier.as_json()},
        progress=progress,
    )
    workspace.record_failures("extract-features", report.failures)
    return report
