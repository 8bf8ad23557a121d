"""All stages in order: ``lpcam run``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lpcam.corridor.clustering import ClusterReport, cluster
from lpcam.corridor.discriminating import DiscriminantReport, cluster_discriminants
from lpcam.corridor.extraction import extract_features
from lpcam.corridor.generation import generate
from lpcam.corridor.methods import DEFAULT_METHOD, MethodSettings
from lpcam.corridor.scoring import EvaluationReport, evaluate
from lpcam.corridor.supporting import SupportReport, cluster_support
from lpcam.corridor.undumped import cluster_photos
from lpcam.engines import Placement
from lpcam.errors import LpcamError
from lpcam.extract import DEFAULT_DTYPE
from lpcam.profiles import Profile
from lpcam.records import Execution, Progress, StageReport, silent
from lpcam.refiners import DEFAULT_REFINER
from lpcam.sources import ClassifierSource, DataSource
from lpcam.support import SupportProfile
from lpcam.views import PUBLISHED_SCALES
from lpcam.workspace import Workspace


@dataclass(frozen=True)
class RunReport:
    """What every stage of a run did.

    Attributes:
        extracted: Report of stage 1.
        clustered: Report of stage 2.
        supported: Report of stage 2 for PACAM, where it is one of the methods.
        discriminated: Report of stage 2 for Fisher, where it is one of the methods.
        generated: Report of stage 3.
        evaluated: One report a method; empty for photos without masks.
    """

    extracted: StageReport
    clustered: ClusterReport
    supported: SupportReport | None
    discriminated: DiscriminantReport | None
    generated: StageReport
    evaluated: tuple[EvaluationReport, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {
            "extract-features": self.extracted.as_json(),
            "cluster": self.clustered.as_json(),
            **({} if self.supported is None else {"cluster-pacam": self.supported.as_json()}),
            **({} if self.discriminated is None else {"cluster-fisher": self.discriminated.as_json()}),
            "generate": self.generated.as_json(),
            "evaluate": [report.as_json() for report in self.evaluated],
        }


def run(
    workspace: Workspace,
    data: DataSource,
    classifier: ClassifierSource,
    *,
    methods: Sequence[str] = (DEFAULT_METHOD,),
    settings: MethodSettings = MethodSettings(),
    refiner: str = DEFAULT_REFINER,
    profile: Profile = Profile(),
    scales: Sequence[float] = PUBLISHED_SCALES,
    dtype: str = DEFAULT_DTYPE,
    seed: int = 0,
    dump: bool = True,
    execution: Execution = Execution(),
    placement: Placement = Placement(),
    overwrite: bool = False,
    progress: Progress = silent,
) -> RunReport:
    """Go down the whole corridor; what an earlier run completed is kept.

    Args:
        workspace: Of the run.
        data: Photos and image-level labels.
        classifier: The pretrained classifier.
        methods: Whose seeds are written and, where there are masks, scored.
        settings: Choices about the methods.
        refiner: Family whose format is written.
        profile: Hyper-parameters of the clustering for LPCAM; restarts and iterations are those for PACAM too.
        scales: Of the views.
        dtype: Of the stored features.
        seed: Of the clustering.
        dump: False clusters the features from memory and writes none (`lpcam.corridor.undumped`).
        execution: Device, batch size, workers.
        placement: Engine and processes of every stage. A share is refused.
        overwrite: Replace what belongs to another run.
        progress: Told as the work goes on.

    Raises:
        LpcamError: as the stages.
    """
    placement.refuse_shard(
        "lpcam run", "give it to extract-features, run cluster once, and give it to generate, as docs/scale.md shows"
    )
    stored = [name for name in ("pacam", "fisher") if name in methods]
    if stored and not dump:
        raise LpcamError(f"--no-dump keeps no features for {stored[0]}: leave one of the two out")
    shared: dict[str, Any] = {"execution": execution, "placement": placement, "overwrite": overwrite}
    supported, discriminated = None, None
    first: dict[str, Any] = {"scales": scales, "dtype": dtype, **shared}
    if dump:
        extracted = extract_features(workspace, data, classifier, progress=progress, **first)
        second: dict[str, Any] = {"device": execution.device, "placement": placement}
        second |= {"overwrite": overwrite, "progress": progress}
        clustered = cluster(workspace, profile=profile, seed=seed, **second)
        if "pacam" in stored:
            supported = cluster_support(workspace, profile=_support(profile), seed=seed, **second)
        if "fisher" in stored:
            discriminated = cluster_discriminants(workspace, **second)
    else:
        extracted, clustered = cluster_photos(
            workspace, data, classifier, profile=profile, seed=seed, progress=progress, **first
        )
    generated = generate(
        workspace,
        methods=methods,
        settings=settings,
        refiner=refiner,
        progress=progress,
        **shared,
    )
    scored = methods if any(photo.mask for photo in data.open().photos) else ()
    evaluated = tuple(evaluate(workspace, method=method, refiner=refiner, progress=progress) for method in scored)
    return RunReport(extracted, clustered, supported, discriminated, generated, evaluated)


def _support(profile: Profile) -> SupportProfile:
    return SupportProfile(restarts=profile.restarts, iterations=profile.iterations)
