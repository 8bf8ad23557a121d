"""IS-CAMs of one image made at once, so that what they share, the structure of the image, is made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lpcam.methods import Method
from lpcam.methods.iscam import (
    LEVELS,
    IsCam,
    general_maps,
    hierarchy,
    image_prototypes,
    image_specific,
    seed_regions,
    structure_similarity,
    with_background,
)
from lpcam.records import ViewFeatures
from lpcam.views import mirror_added


def together(methods: Mapping[str, Method]) -> dict[str, Method]:
    """Return the methods with all IS-CAMs as members of one `Together`."""
    members = {
        name: method
        for name, method in methods.items()
        if isinstance(method, IsCam) and method.levels == LEVELS and not method.labels_only
    }
    shared = Together(tuple(members.values()))
    return {**methods, **{name: Member(shared, index) for index, name in enumerate(members)}}


class Together:
    """IS-CAMs of different general maps, made at once: what they share, the structure of the image, is made once.

    The structure similarity of a map does not depend on the maps beside it, so those of all general maps are made in
    one call; `IsCam.view_maps` makes the same, but for rounding.
    """

    def __init__(self, members: Sequence[IsCam]) -> None:
        """Take IS-CAMs of one network, which differ in their general maps alone and leave no class out."""
        self._members = members
        self._last: tuple[ViewFeatures, list[Tensor]] | None = None

    def maps(self, seen: ViewFeatures, labels: Sequence[int]) -> list[Tensor]:
        """Return the maps [K, h, w] of every member, kept until others are asked for."""
        if self._last is None or self._last[0] is not seen:
            self._last = seen, self._made(seen, labels)
        return self._last[1]

    def _made(self, seen: ViewFeatures, labels: Sequence[int]) -> list[Tensor]:
        if not labels:
            return [seen.last.new_zeros(0, *seen.last.shape[2:])] * len(self._members)
        first, added = self._members[0], mirror_added(seen.last)
        hierarchical = mirror_added(hierarchy(seen.levels, first.sides))[None]
        maps = [with_background(general_maps(member.general.activation(added)[None])) for member in self._members]
        similarity = structure_similarity(hierarchical, torch.cat(maps, dim=1), background_weight=1)
        present = torch.zeros(1, maps[0].shape[1] - 1, dtype=torch.bool, device=added.device)
        present[0, list(labels)] = True
        weights = torch.ones(maps[0].shape[1], device=added.device)
        weights[0] = first.background_weight
        seeds = [seed_regions(part * weights[:, None, None], present) for part in similarity.chunk(len(maps), dim=1)]
        prototypes = [image_prototypes(hierarchical, of)[:, [label + 1 for label in labels]] for of in seeds]
        return list(image_specific(hierarchical, torch.cat(prototypes, dim=1))[0].chunk(len(maps)))


@dataclass(frozen=True)
class Member:
    """One IS-CAM of a `Together`, as a method.

    Attributes:
        of: All of them.
        index: Which.
    """

    of: Together
    index: int
    epsilon = IsCam.epsilon
    reads_levels = True

    def view_maps(self, seen: ViewFeatures, labels: Sequence[int]) -> Tensor:
        """Return the maps [K, h, w] of one scale."""
        return self.of.maps(seen, labels)[self.index]
