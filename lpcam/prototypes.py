"""Stage 2: from a class's local features to its class prototypes and context prototypes.

LPCAM (Chen & Sun, CVPR 2023), Eq. 2 to 4: split by CAM against τ, cluster both sides, keep the centres that the
classifier's own weights vouch for. The prototype file is one safetensors file with everything that made it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lpcam.kmeans import Clusters, VectorSource, kmeans
from lpcam.methods.lpcam import fold
from lpcam.profiles import Profile
from lpcam.tensorfile import FileKind, identity, require_kinds

SCHEMA = 1
FILE = FileKind("lpcam", "prototype file", "lpcam cluster")
OBJECT, REST = "object", "rest"
_FIRST_FILTER = "softmax"
_SWITCHES = ("relative_threshold", "weigh_sizes", "adaptive_k")
_LITTLE = 0.05  # of what K/2 centres leave unexplained

Gather = Callable[[int, str], Tensor | VectorSource]
"""``gather(class index, side)`` returns the local features of one side of one class, float32 [M, C]."""


@dataclass(frozen=True)
class MadeFrom:
    """What prototypes were made from.

    Attributes:
        classes: Class names by index.
        weights_sha256: Identity of the classifier.
        arch: Its architecture.
        layer: The layer whose features were clustered.
        stride: Output stride of that layer.
        dataset: Kind of data set.
        split: Name of the split.
        features: Fingerprint of the feature store.
        seed: Seed of the k-means starts and the image draw.
    """

    classes: tuple[str, ...]
    weights_sha256: str = ""
    arch: str = ""
    layer: str = ""
    stride: int = 0
    dataset: str = ""
    split: str = ""
    features: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Provenance(MadeFrom):
    """What made LPCAM's prototypes.

    Attributes:
        profile: Hyper-parameters.
    """

    profile: Profile = field(default_factory=Profile)


@dataclass(frozen=True)
class Centres:
    """The cluster centres of one class, both sides, kept or not.

    Attributes:
        vectors: float32 [P, C], raw means.
        is_object: bool [P], side of the centre.
        selected: bool [P], whether it is a class prototype or a context prototype.
        scores: float32 [P], z of Eq. 3, 0..1.
        sizes: int64 [P], vectors in the cluster.
        object_vectors: Vectors with CAM > τ.
        rest_vectors: Vectors with CAM < τ.
        fallback: No centre passed μ_f and the one of highest z was taken.
    """

    vectors: Tensor
    is_object: Tensor
    selected: Tensor
    scores: Tensor
    sizes: Tensor
    object_vectors: int
    rest_vectors: int
    fallback: bool

    @property
    def class_prototypes(self) -> Tensor:
        """float32 [P, C]: F' of Eq. 4."""
        return self.vectors[self.is_object & self.selected]

    @property
    def context_prototypes(self) -> Tensor:
        """float32 [P', C]: B' of Eq. 4."""
        return self.vectors[~self.is_object & self.selected]

    def counts(self) -> dict[str, int | bool]:
        """Return what ``lpcam cluster --json`` reports for a class."""
        return {
            "object_vectors": self.object_vectors,
            "rest_vectors": self.rest_vectors,
            "class_prototypes": len(self.class_prototypes),
            "context_prototypes": len(self.context_prototypes),
            "fallback": self.fallback,
        }


def split_positions(cam: Tensor, tau: float, side: str) -> Tensor:
    """Return which positions belong to a side (Eq. 2): strictly above τ, or strictly below.

    Args:
        cam: float [M], the normalised CAM at the grid positions, 0..1.
        tau: τ.
        side: ``object`` or ``rest``.

    Departs from the paper: Eq. 2 puts equality on the object side; as in the published code it is dropped.
    """
    return cam > tau if side == OBJECT else cam < tau


def class_scores(centres: Tensor, weights: Tensor, label: int) -> Tensor:
    """Return z_i = softmax_j(c_i · w_j)[n] (Eq. 3): float32 [P] in 0..1.

    Args:
        centres: float32 [P, C], raw means: their norm sets the temperature of the softmax.
        weights: float32 [K, C], the classifier's class weights, no bias.
        label: n.
    """
    return torch.softmax(centres.double() @ weights.double().T, dim=1)[:, label].float()


def select_class(scores: Tensor, threshold: float) -> tuple[Tensor, bool]:
    """Choose the class prototypes: z > μ_f, or the centre of highest z where none passes.

    Returns:
        bool [P], and whether the fallback was needed.

    Departs from the paper: the VOC code crashes without a class prototype; its COCO code falls back as here.
    """
    selected = scores > threshold
    if bool(selected.any()) or len(scores) == 0:
        return selected, False
    selected[scores.argmax()] = True
    return selected, True


def select_context(scores: Tensor, low: float, high: float) -> Tensor:
    """Choose the context prototypes: low < z < high; bool [P]."""
    return (scores > low) & (scores < high)


def select(objects: Tensor, rest: Tensor, weights: Tensor, label: int, profile: Profile) -> tuple[Tensor, Tensor, bool]:
    """Choose class prototypes among the object centres and context prototypes among the rest centres.

    ``softmax`` is the paper's filter: z against μ_f and μ_b. It asks for logits c · w of the size that features after a
    ReLU, of large norm, give: where the features are short (cosines of CLIP) or their logits close together, z is near
    1/K for every centre and none passes 0.9; where they are long, z is 0 or 1. The other two compare logits only
    with one another, so that the scale of features and weights does not matter:

    - ``rank``: a class prototype is an object centre whose own logit is the largest of its row; a context prototype
      is a rest centre whose own logit is not. That is what z > μ_f becomes when features are made longer and longer.
    - ``quantile``: the log-odds of z over all centres of the class, both sides, are cut at their median; object centres
      from there up are class prototypes, rest centres below are context prototypes. It also chooses for a class that
      is never the largest, or where there is one class only.

    Args:
        objects: float32 [P, C], centres of the object side.
        rest: float32 [P', C], centres of the rest.
        weights: float32 [K, C].
        label: n.
        profile: The filter and its thresholds.

    Returns:
        bool [P], bool [P'], and whether no object centre passed and the one of highest z was taken.

    Departs from the paper: ``rank`` and ``quantile`` are ours.
    """
    chosen, context = _SELECT[filter_for(profile.filter, torch.cat([objects, rest]))](
        objects, rest, weights, label, profile
    )
    if len(chosen) == 0 or bool(chosen.any()):
        return chosen, context, False
    chosen[_log_odds(objects, weights, label).argmax()] = True
    return chosen, context, True


def filter_for(name: str, features: Tensor) -> str:
    """Return the filter ``auto`` means for these features; another name is kept.

    Features without negative values come from a ReLU or the like, which the softmax filter was made for.

    >>> filter_for("auto", torch.tensor([0.0, 2.0])), filter_for("auto", torch.tensor([-0.1, 2.0]))
    ('softmax', 'rank')
    """
    if name != "auto":
        return name
    return "rank" if bool((features < 0).any()) else "softmax"


def build_class(
    gather: Callable[[str], Tensor | VectorSource],
    weights: Tensor,
    label: int,
    profile: Profile,
    *,
    seed: int,
    engine: str = "auto",
) -> Centres:
    """Cluster both sides of one class and filter the centres.

    With ``adaptive_k`` the K of a side is halved as long as the mean of 1 − cos(vector, centre), what the centres leave
    unexplained, is lowered by less than a twentieth when K is doubled again.

    Args:
        gather: Returns the float32 [M, C] vectors of a side; called once for each, so only one side is in memory.
        weights: float [K, C]; of many classes best float64, which it is turned into.
        label: Class index n.
        profile: Hyper-parameters.
        seed: Of the data set; each class and side derives its own.
        engine: k-means engine, see `lpcam.kmeans.kmeans`.
    """
    objects, object_count = _cluster_side(gather, OBJECT, label, profile, seed, engine)
    rest, rest_count = _cluster_side(gather, REST, label, profile, seed, engine)
    object_scores = class_scores(objects.centres, weights, label)
    rest_scores = class_scores(rest.centres, weights, label)
    chosen, context, fallback = select(objects.centres, rest.centres, weights, label, profile)
    return Centres(
        vectors=torch.cat([objects.centres, rest.centres]),
        is_object=torch.cat([torch.ones_like(chosen), torch.zeros_like(context)]),
        selected=torch.cat([chosen, context]),
        scores=torch.cat([object_scores, rest_scores]),
        sizes=torch.cat([objects.sizes, rest.sizes]),
        object_vectors=object_count,
        rest_vectors=rest_count,
        fallback=fallback,
    )


def derived_seed(seed: int, label: int, purpose: int) -> int:
    """Return the seed of one class and purpose, so that classes can be built in any order."""
    return int(np.random.SeedSequence([seed, label, purpose]).generate_state(1)[0]) & 0x7FFFFFFF


@dataclass(frozen=True)
class Prototypes:
    """The prototypes of every class of a data set.

    Attributes:
        centres: One `Centres` a class, by class index.
        provenance: What made them.
    """

    centres: tuple[Centres, ...]
    provenance: Provenance

    @property
    def sha256(self) -> str:
        """Identity of the prototypes: over all tensors and the provenance."""
        return identity(_pack(self.centres), _describe(self))

    def folded(self, *, context: bool = True) -> Tensor:
        """Return v_n of every class (see `lpcam.methods.lpcam.fold`): float32 [K, C].

        Args:
            context: False leaves the context prototypes out, the paper's ablation.
        """
        weigh = self.provenance.profile.weigh_sizes
        return torch.stack([_fold_class(centres, context, weigh) for centres in self.centres])

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, atomically."""
        FILE.save(path, _pack(self.centres), _describe(self))

    @classmethod
    def load(cls, path: Path | str) -> Prototypes:
        """Read a prototype file.

        Raises:
            LpcamError: the file is missing, damaged or of another kind.
        """
        return FILE.load(path, _unpack)


def _by_softmax(objects: Tensor, rest: Tensor, weights: Tensor, label: int, profile: Profile) -> tuple[Tensor, Tensor]:
    scores = class_scores(objects, weights, label)
    highest = scores.amax() if profile.relative_threshold and len(scores) else 1
    context = select_context(class_scores(rest, weights, label), profile.context_low, profile.context_high)
    return scores > profile.class_threshold * highest, context


def _by_rank(objects: Tensor, rest: Tensor, weights: Tensor, label: int, profile: Profile) -> tuple[Tensor, Tensor]:
    return _is_largest(objects, weights, label), ~_is_largest(rest, weights, label)


def _by_quantile(objects: Tensor, rest: Tensor, weights: Tensor, label: int, profile: Profile) -> tuple[Tensor, Tensor]:
    of_objects, of_rest = _log_odds(objects, weights, label), _log_odds(rest, weights, label)
    everything = torch.cat([of_objects, of_rest])
    if len(everything) == 0:
        return of_objects > 0, of_rest > 0
    median = everything.quantile(0.5)
    return of_objects >= median, of_rest < median


_SELECT = {"softmax": _by_softmax, "rank": _by_rank, "quantile": _by_quantile}


def _is_largest(centres: Tensor, weights: Tensor, label: int) -> Tensor:
    logits = centres.double() @ weights.double().T
    return logits[:, label] >= logits.amax(dim=1)


def _log_odds(centres: Tensor, weights: Tensor, label: int) -> Tensor:
    """Return log z − log(1 − z), which tells centres apart where z itself is 0 or 1: float64 [P].

    Where there is one class only z is always 1; then the logit.
    """
    logits = centres.double() @ weights.double().T
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
    return logits[:, label] - others.logsumexp(dim=1) if others.shape[1] else logits[:, label]


def _cluster_side(
    gather: Callable[[str], Tensor | VectorSource], side: str, label: int, profile: Profile, seed: int, engine: str
) -> tuple[Clusters, int]:
    vectors = gather(side)

    def clustered(k: int) -> Clusters:
        return kmeans(
            vectors,
            k,
            seed=derived_seed(seed, label, int(side == REST)),
            restarts=profile.restarts,
            iterations=profile.iterations,
            engine=engine,
        )

    clusters = _fewest(clustered, profile.k) if profile.adaptive_k else clustered(profile.k)
    return replace(clusters, centres=clusters.centres.cpu(), sizes=clusters.sizes.cpu()), len(clusters.assignments)


def _fewest(clustered: Callable[[int], Clusters], k: int) -> Clusters:
    """Return the clusters of the last of K, K/2, K/4, … that costs little."""
    clusters = clustered(k)
    while k > 1:
        k //= 2
        fewer = clustered(k)
        if not (clusters.objective - fewer.objective) < _LITTLE * (1 - fewer.objective):
            break
        clusters = fewer
    return clusters


def _fold_class(centres: Centres, context: bool, weigh_sizes: bool) -> Tensor:
    own, others = centres.is_object & centres.selected, ~centres.is_object & centres.selected
    if not bool(own.any()):
        return centres.vectors.new_zeros(centres.vectors.shape[1])
    if not context:
        others = torch.zeros_like(others)
    weights = (centres.sizes[own], centres.sizes[others]) if weigh_sizes else ()
    return fold(centres.vectors[own], centres.vectors[others], *weights)


def _pack(centres: tuple[Centres, ...]) -> dict[str, Tensor]:
    counts = torch.tensor([len(entry.vectors) for entry in centres])
    columns = {
        name: torch.cat([getattr(entry, name) for entry in centres])
        for name in ("vectors", "is_object", "selected", "scores", "sizes")
    }
    totals = torch.tensor([[entry.object_vectors, entry.rest_vectors, entry.fallback] for entry in centres])
    labels = torch.repeat_interleave(torch.arange(len(centres)), counts)
    return {**columns, "labels": labels, "totals": totals.long()}


def _unpack(tensors: dict[str, Tensor], description: dict[str, Any]) -> Prototypes:
    if description["schema"] != SCHEMA:
        raise ValueError(f"schema {description['schema']}, this version reads {SCHEMA}")
    profile = Profile(**{"filter": _FIRST_FILTER, **description.pop("profile")})
    description.pop("schema")
    provenance = Provenance(**{**description, "classes": tuple(description["classes"]), "profile": profile})
    require_kinds(tensors, _COLUMNS)
    if not bool(tensors["vectors"].isfinite().all()):
        raise ValueError("centres that are not finite")
    if tensors["totals"].shape != (len(provenance.classes), 3):
        raise ValueError("totals of other classes")
    centres = []
    for label in range(len(provenance.classes)):
        rows = tensors["labels"] == label
        objects, rest, fallback = tensors["totals"][label].tolist()
        columns = {name: tensors[name][rows] for name in ("vectors", "is_object", "selected", "scores", "sizes")}
        centres.append(Centres(**columns, object_vectors=objects, rest_vectors=rest, fallback=bool(fallback)))
    return Prototypes(tuple(centres), provenance)


_COLUMNS = {
    "vectors": (torch.float32, 2), "is_object": (torch.bool, 1), "selected": (torch.bool, 1),
    "scores": (torch.float32, 1), "sizes": (torch.int64, 1), "labels": (torch.int64, 1), "totals": (torch.int64, 2),
}  # fmt: skip


def _describe(prototypes: Prototypes) -> str:
    provenance = asdict(prototypes.provenance)
    if provenance["profile"]["filter"] == _FIRST_FILTER:
        del provenance["profile"]["filter"]  # as in files from before there was a choice, so that they stay the same
    for name in _SWITCHES:
        if not provenance["profile"][name]:
            del provenance["profile"][name]
    return json.dumps({"schema": SCHEMA, **provenance}, sort_keys=True)
