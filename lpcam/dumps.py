"""What the published LPCAM code leaves on disk, read as lpcam's own records.

Its features are ``tensor_feature.pt`` (image number → float [C, h, w]), ``tensor_label.pt`` (image number → 0/1 [K])
and ``name2id.npy`` (name → image number); its prototypes ``class_ceneters.pt`` and ``class_context.pt`` (class index →
float [P, C]). Where a file holds a list or one stacked tensor instead of a dictionary, it is taken in order of the
indices. Nothing is unpickled but tensors, numbers and containers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lpcam.backbones.checkpoints import is_plain, load_torch
from lpcam.errors import LpcamError
from lpcam.pickles import load_dictionary
from lpcam.prototypes import Centres, Prototypes, Provenance, class_scores

CLASS_FILE, CONTEXT_FILE = "class_ceneters.pt", "class_context.pt"
FEATURE_FILE, LABEL_FILE, NAME_FILE = "tensor_feature.pt", "tensor_label.pt", "name2id.npy"


def read_class_vectors(path: Path, classes: Sequence[str], channels: int) -> tuple[Tensor, ...]:
    """Read the prototypes of every class.

    Args:
        path: A file as ``class_ceneters.pt``: a dictionary from 0-based class index to tensor, a list of tensors, or
            one tensor [K, P, C]. The tensor of a class is [P, C], P ≥ 0, or [C] for a single prototype.
        classes: The K class names.
        channels: C.

    Returns:
        K tensors, float32 [P, C].

    Raises:
        LpcamError: the file cannot be read, or has other classes or channels, or values that are not finite.
    """
    tensors = _by_number(path)
    if set(tensors) != set(range(len(classes))):
        raise LpcamError(
            f"{path} has prototypes of the classes {_shown(tensors)}, expected 0..{len(classes) - 1}: "
            "give the file with the names of its classes by --classes"
        )
    return tuple(_vectors(tensors[label], name, channels, path) for label, name in enumerate(classes))


def prototypes_from(
    class_prototypes: Sequence[Tensor], context_prototypes: Sequence[Tensor], weights: Tensor, made_by: Provenance
) -> Prototypes:
    """Make prototypes of vectors that were chosen elsewhere.

    Their scores are those of Eq. 3 under the classifier at hand; how many vectors a cluster had is not known, and 0.

    Args:
        class_prototypes: For every class float32 [P, C].
        context_prototypes: For every class float32 [P', C].
        weights: float32 [K, C], the classifier's class weights.
        made_by: Its ``features`` becomes the identity of the vectors.
    """
    pairs = enumerate(zip(class_prototypes, context_prototypes, strict=True))
    centres = tuple(_centres(objects, context, weights, label) for label, (objects, context) in pairs)
    digest = hashlib.sha256()
    for entry in centres:
        digest.update(entry.is_object.numpy().tobytes() + entry.vectors.numpy().tobytes())
    return Prototypes(centres, Provenance(**{**vars(made_by), "features": f"imported:{digest.hexdigest()}"}))


@dataclass(frozen=True)
class FeatureDump:
    """Features of scale 1 without mirror, as the published code dumps them.

    Attributes:
        folder: Of the three files.
        features: float [C, h, w] by image number, mapped from the disk.
        labels: 0/1 [K] by image number.
        numbers: Image number by name.
    """

    folder: Path
    features: Mapping[int, Tensor]
    labels: Mapping[int, Tensor]
    numbers: Mapping[str, int]

    @classmethod
    def open(cls, folder: Path) -> FeatureDump:
        """Open a dump; its features stay on the disk until they are asked for.

        Raises:
            LpcamError: a file is missing or of another kind.
        """
        numbers = load_dictionary(folder / NAME_FILE)
        if not all(isinstance(name, str) and isinstance(number, int) for name, number in numbers.items()):
            raise LpcamError(f"{folder / NAME_FILE} does not give a number to every name: {_REPAIR}")
        return cls(folder, _by_number(folder / FEATURE_FILE), _by_number(folder / LABEL_FILE), numbers)

    def photo(self, name: str, num_classes: int, channels: int) -> tuple[Tensor, tuple[int, ...]]:
        """Return the features of a photo, float [C, h, w], and its sorted class indices.

        Raises:
            LpcamError: the dump lacks the photo, or its tensors have other shapes or values that are not finite.
        """
        number = self.numbers.get(name)
        if number is None or number not in self.features or number not in self.labels:
            raise LpcamError(
                f"{self.folder} has no features of '{name}': pass the --split of the photos it was made from"
            )
        features, labels = self.features[number], self.labels[number].flatten()
        if features.ndim != 3 or len(features) != channels or not bool(features.isfinite().all()):
            raise LpcamError(
                f"{self.folder / FEATURE_FILE} has features {list(features.shape)} of '{name}', expected finite "
                f"ones of [{channels}, h, w]: give the classifier it was made with by --arch, --weights and --layer"
            )
        if len(labels) != num_classes or not bool(((labels == 0) | (labels == 1)).all()):
            raise LpcamError(f"{self.folder / LABEL_FILE} has no 0/1 labels of {num_classes} classes for '{name}'")
        return features, tuple(labels.nonzero().flatten().tolist())


_REPAIR = "make the dump again with the published code"


def _by_number(path: Path) -> dict[int, Tensor]:
    """Return the tensors of a file by their number."""
    content = _loaded(path)
    entries = content if isinstance(content, dict) else dict(enumerate(_sequence(content)))
    known = {key: value for key, value in entries.items() if isinstance(key, int) and is_plain(value)}
    if not entries or len(known) < len(entries):
        raise LpcamError(f"{path} is no dictionary, list or stack of tensors: pass a file of the published code")
    return known


def _sequence(content: object) -> Sequence[object]:
    if is_plain(content) and content.ndim > 1:
        return content.unbind()
    return content if isinstance(content, list | tuple) else ()


def _loaded(path: Path) -> object:
    if not path.is_file():
        raise LpcamError(f"{path} does not exist: check the path")
    try:
        return load_torch(path, mapped=True)
    except Exception as error:  # damaged bytes can fail in any way
        raise LpcamError(
            f"{path} is damaged or holds more than tensors, and was not unpickled: {_REPAIR}, "
            "or save its tensors with torch.save"
        ) from error


def _vectors(tensor: Tensor, name: str, channels: int, path: Path) -> Tensor:
    vectors = tensor[None] if tensor.ndim == 1 and len(tensor) else tensor
    if vectors.numel() == 0:
        vectors = vectors.new_zeros(0, channels)
    if vectors.ndim != 2 or vectors.shape[1] != channels or not vectors.is_floating_point():
        raise LpcamError(
            f"{path} has prototypes {list(tensor.shape)} of '{name}', expected [P, {channels}]: "
            "give the classifier they were made with by --arch, --weights and --layer"
        )
    if not bool(vectors.isfinite().all()):
        raise LpcamError(f"{path} has prototypes of '{name}' that are not finite (an empty cluster?): {_REPAIR}")
    return vectors.detach().float().contiguous().clone()


def _centres(objects: Tensor, context: Tensor, weights: Tensor, label: int) -> Centres:
    vectors = torch.cat([objects, context])
    return Centres(
        vectors=vectors,
        is_object=torch.arange(len(vectors)) < len(objects),
        selected=torch.ones(len(vectors), dtype=torch.bool),
        scores=class_scores(vectors, weights.cpu(), label),
        sizes=torch.zeros(len(vectors), dtype=torch.int64),
        object_vectors=0,
        rest_vectors=0,
        fallback=False,
    )


def _shown(keys: Mapping[int, object]) -> str:
    numbers = sorted(keys)
    return f"{numbers[0]}..{numbers[-1]} ({len(numbers)} of them)"
