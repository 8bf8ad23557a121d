"""What the later stages build on: classifier, classes and photos, as features or an import left them in a workspace."""

from __future__ import annotations

from dataclasses import dataclass

from lpcam.errors import LpcamError
from lpcam.files import read_json
from lpcam.prototypes import Prototypes
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import MANIFEST, read_manifest
from lpcam.views import PUBLISHED_SCALES
from lpcam.workspace import Workspace


@dataclass(frozen=True)
class Basis:
    """What seeds are made with.

    Attributes:
        classes: Class names by index.
        weights_sha256: Identity of the classifier.
        features: Fingerprint of the features the prototypes are of, or identity of imported prototypes.
        scales: Of the views, where no others are asked for.
        classifier: Where the classifier comes from.
        data: The photos, where no others are named; None after an import that named none.
    """

    classes: tuple[str, ...]
    weights_sha256: str
    features: str
    scales: tuple[float, ...]
    classifier: ClassifierSource
    data: DataSource | None


def read_basis(workspace: Workspace) -> Basis:
    """Return what the workspace's features say or, where it has none, its imported prototypes.

    Raises:
        LpcamError: it has neither, or they are damaged.
    """
    if workspace.imported.is_file() and not (workspace.features / MANIFEST).exists():
        return _of_import(workspace)
    manifest = read_manifest(workspace.features)
    return Basis(
        manifest.description.classes,
        manifest.description.weights_sha256,
        manifest.description.fingerprint,
        manifest.description.scales,
        ClassifierSource.from_json(manifest.sources.get("classifier", {})),
        DataSource.from_json(manifest.sources.get("data", {})),
    )


def photos_of_basis(workspace: Workspace) -> DataSource:
    """Return the photos that the workspace remembers.

    Raises:
        LpcamError: it remembers none.
    """
    data = read_basis(workspace).data
    if data is None:
        raise LpcamError(
            f"{workspace.root} remembers no photos, its prototypes were imported: give --dataset and --root"
        )
    return data


def _of_import(workspace: Workspace) -> Basis:
    repair = "run 'lpcam import-prototypes --overwrite' again"
    sources = read_json(workspace.imported, repair=repair)
    made = Prototypes.load(workspace.prototypes).provenance
    try:
        classifier = ClassifierSource.from_json(sources["classifier"])
        data = sources["data"] and DataSource.from_json(sources["data"])
    except (KeyError, TypeError) as error:
        raise LpcamError(f"{workspace.imported} is damaged ({error!r}): {repair}") from error
    return Basis(made.classes, made.weights_sha256, made.features, PUBLISHED_SCALES, classifier, data)
