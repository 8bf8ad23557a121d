"""What the files of the second stage hold: prototypes, PACAM's context, Fisher's discriminants."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from lpcam.corridor.clustering import report_of
from lpcam.discriminants import Discriminants
from lpcam.inspection.findings import Facts, Findings, spread
from lpcam.prototypes import Centres, MadeFrom, Prototypes
from lpcam.support import Support


def of_prototypes(path: Path) -> Findings:
    """Return what a prototype file holds: a row a class.

    Raises:
        LpcamError: it cannot be read.
    """
    made = Prototypes.load(path)
    rows = tuple(
        _prototype_row(name, centres) for name, centres in zip(made.provenance.classes, made.centres, strict=True)
    )
    totals = {column: sum(row[column] for row in rows) for column in ("class_prototypes", "context_prototypes")}
    fallbacks = sum(centres.fallback for centres in made.centres)
    facts = {
        **totals,
        "fallback_classes": fallbacks,
        **_made_from(made.provenance, made.centres[0].vectors if made.centres else None),
        "profile": asdict(made.provenance.profile),
        "fingerprint": made.sha256,
    }
    doubts = report_of(made, 0.0, made.provenance.profile).notices
    return Findings("prototype file", path, facts, rows, doubts, _generate(path, "lpcam"))


def of_support(path: Path) -> Findings:
    """Return what a support file holds: a row a class.

    Raises:
        LpcamError: it cannot be read.
    """
    made = Support.load(path)
    rows: tuple[Facts, ...] = tuple(
        {"class": name, **context.counts(), "cluster_sizes": _sizes(context.sizes)}
        for name, context in zip(made.provenance.classes, made.context, strict=True)
    )
    facts = {
        "context_prototypes": sum(row["context_prototypes"] for row in rows),
        **_made_from(made.provenance, made.context[0].vectors if made.context else None),
        "profile": asdict(made.provenance.profile),
        "fingerprint": made.sha256,
    }
    doubts = tuple(f"{row['class']}: no instance prototypes" for row in rows if not row["instances"])
    return Findings("support file", path, facts, rows, doubts, _generate(path, "pacam"))


def of_discriminants(path: Path) -> Findings:
    """Return what a discriminant file holds: a row a class.

    Raises:
        LpcamError: it cannot be read.
    """
    made = Discriminants.load(path)
    rows: tuple[Facts, ...] = tuple(
        {"class": name, **counts, "offset": round(float(offset), 4), "found": bool(vector.any())}
        for (name, counts), vector, offset in zip(
            made.class_counts().items(), made.lines.vectors, made.lines.offsets, strict=True
        )
    )
    facts = {
        **_made_from(made.provenance, made.lines.vectors),
        "profile": asdict(made.provenance.profile),
        "fingerprint": made.sha256,
    }
    doubts = tuple(f"{row['class']}: no vector, so its maps will be zero" for row in rows if not row["found"])
    return Findings("discriminant file", path, facts, rows, doubts, _generate(path, "fisher"))


def _prototype_row(name: str, centres: Centres) -> Facts:
    own, others = centres.is_object & centres.selected, ~centres.is_object & centres.selected
    return {
        "class": name,
        "class_prototypes": len(centres.class_prototypes),
        "context_prototypes": len(centres.context_prototypes),
        "z_of_class_prototypes": spread(centres.scores[own].tolist()),
        "z_of_context": spread(centres.scores[others].tolist()),
        "centres": len(centres.vectors),
        "cluster_sizes": _sizes(centres.sizes),
        "object_vectors": centres.object_vectors,
        "rest_vectors": centres.rest_vectors,
        "fallback": centres.fallback,
    }


def _made_from(made: MadeFrom, vectors: Tensor | None) -> Facts:
    """Return what made a file: classifier, layer, data set, and the features it comes from."""
    return {
        "classes": len(made.classes),
        "channels": None if vectors is None else vectors.shape[1],
        "arch": made.arch,
        "layer": made.layer,
        "stride": made.stride,
        "dataset": made.dataset,
        "split": made.split,
        "seed": made.seed,
        "weights_sha256": made.weights_sha256,
        "features": made.features,
    }


def _sizes(sizes: Tensor) -> list[int] | None:
    """Return the least and the largest cluster; imported prototypes do not know theirs."""
    return [int(sizes.min()), int(sizes.max())] if len(sizes) and bool(sizes.any()) else None


def _generate(path: Path, method: str) -> tuple[str, ...]:
    return (f"lpcam generate -w {path.parent} --method {method}",)
