"""The corridor: the stages of a run in one workspace, as the commands call them.

extract_features → cluster → generate → evaluate. Each stage reads what the one before left in the workspace, skips
what is complete, and refuses what belongs to another run.
"""

from __future__ import annotations

from lpcam.corridor.clustering import ClusterReport, cluster
from lpcam.corridor.conversion import convert
from lpcam.corridor.discriminating import DiscriminantReport, cluster_discriminants
from lpcam.corridor.extraction import extract_features
from lpcam.corridor.generation import generate
from lpcam.corridor.importing import ImportReport, import_features, import_prototypes
from lpcam.corridor.methods import METHODS, MethodSettings
from lpcam.corridor.scoring import EvaluationReport, evaluate
from lpcam.corridor.supporting import SupportReport, cluster_support
from lpcam.corridor.whole import RunReport, run

__all__ = [
    "METHODS",
    "ClusterReport",
    "DiscriminantReport",
    "EvaluationReport",
    "ImportReport",
    "MethodSettings",
    "RunReport",
    "SupportReport",
    "cluster",
    "cluster_discriminants",
    "cluster_support",
    "convert",
    "evaluate",
    "extract_features",
    "generate",
    "import_features",
    "import_prototypes",
    "run",
]
