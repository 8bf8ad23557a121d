"""discriminants: the moments, the passes and the vectors against the slow transcription, by hand, and the file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lpcam.discriminants import (
    DiscriminantProvenance,
    Discriminants,
    FisherProfile,
    Lines,
    Moments,
    Scatter,
    Seen,
    fit,
    moments_of,
)
from lpcam.errors import LpcamError
from lpcam.prototypes import Prototypes
from tests.reference import fisher

CHANNELS, CLASSES = 6, 3
LABELS = ((0,), (0, 1), (1,), (), (0, 1))


@pytest.fixture
def photos() -> list[Seen]:
    """Five photos of classes 0 and 1, one of them without a label; class 2 has none."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for index, labels in enumerate(LABELS):
        rows = 7 + index
        maps = torch.rand(len(labels), rows, generator=generator)
        features = torch.randn(rows, CHANNELS, generator=generator) + 2
        features[:, list(labels)] += 3 * maps.T
        found.append(Seen(features, labels, maps))
    return found


def fitted(photos: list[Seen], profile: FisherProfile) -> Lines:
    """Return the discriminants of photos, all in one block."""
    lines, moments = Lines.none(CLASSES, CHANNELS), moments_of(photos, CLASSES, CHANNELS, profile.tau)
    scatter = moments.scatter
    assert scatter is not None
    for turn in range(profile.passes):
        if turn:
            moments = moments_of(photos, CLASSES, CHANNELS, profile.own_tau, lines)
        lines = fit(scatter, moments.sides, profile.ridge, lines)
    return lines


def transcribed(photos: list[Seen], profile: FisherProfile) -> tuple[Tensor, Tensor]:
    """Return vectors and offsets as the slow transcription makes them."""
    known = [(seen.features.double().numpy(), seen.labels, list(seen.maps.double().numpy())) for seen in photos]
    lines = fisher.discriminants(known, CLASSES, **vars(profile))
    vectors, offsets = zip(*lines, strict=True)
    return torch.from_numpy(np.stack(vectors)).float(), torch.tensor(offsets, dtype=torch.float32)


@pytest.mark.parametrize("passes", [1, 2, 4])
@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_vectors_and_offsets_are_the_transcription(photos, passes, ridge):
    profile = FisherProfile(tau=0.6, own_tau=0.3, ridge=ridge, passes=passes)
    found, (vectors, offsets) = fitted(photos, profile), transcribed(photos, profile)
    torch.testing.assert_close(found.vectors, vectors, rtol=0, atol=2e-5)
    torch.testing.assert_close(found.offsets, offsets, rtol=0, atol=2e-5)
    assert found.vectors[:2].norm(dim=1).tolist() == pytest.approx([1, 1])
    assert not found.vectors[2].any()  # no photo, so its maps are zero
    assert found.offsets[2] == 0


def test_positions_without_a_direction_count_nowhere(photos):
    profile = FisherProfile(tau=0.6, own_tau=0.3)
    extra = torch.stack([torch.zeros(CHANNELS), torch.full((CHANNELS,), torch.nan), torch.full((CHANNELS,), torch.inf)])
    more = [
        replace(seen, features=torch.cat([extra, seen.features]), maps=torch.cat([seen.maps[:, :3], seen.maps], dim=1))
        for seen in photos
    ]
    empty = Seen(extra, (0,), torch.ones(1, 3))
    found, expected = fitted([*more, empty], profile), fitted(photos, profile)
    torch.testing.assert_close(found.vectors, expected.vectors)
    torch.testing.assert_close(found.offsets, expected.offsets)


def test_blocks_of_photos_add_up_to_all_of_them(photos):
    def parts(lines: Lines | None) -> list[Moments]:
        return [moments_of(block, CLASSES, CHANNELS, 0.5, lines) for block in (photos[:2], [], photos[2:])]

    for lines in (None, fitted(photos, FisherProfile())):
        whole, together = moments_of(photos, CLASSES, CHANNELS, 0.5, lines), Moments.of(parts(lines))
        assert (together.scatter is None) == (lines is not None)
        for one, other in zip(whole.tensors(), together.tensors(), strict=True):
            torch.testing.assert_close(one, other)
        assert bool(whole.sides.counts[:, :2].all())


def test_directions_in_which_features_differ_anyway_count_less():
    generator = torch.Generator().manual_seed(4)
    class_or_not = torch.arange(400) % 2
    noise = torch.randn(400, generator=generator)
    # Channel 0 is where the class is, channel 1 noise twenty times as wide, which the class moves a little too.
    features = torch.stack([0.05 * class_or_not, noise + class_or_not, torch.full((400,), 5.0)], dim=1)
    seen = Seen(features, (0,), class_or_not[None].float())
    moments = moments_of([seen], 1, 3, 0.5)
    means = moments.sides.sums / moments.sides.counts[..., None]
    plain = (means[0] - means[1])[0]
    assert plain[1].abs() > 5 * plain[0].abs()
    lines = fit(moments.scatter, moments.sides, 1e-4, Lines.none(1, 3))
    assert lines.vectors[0, 0] > 5 * lines.vectors[0, 1].abs()


def test_a_class_without_rest_is_held_against_all_positions():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    photos = [Seen(rows[:1], (0,), torch.ones(1, 1)), Seen(rows[1:], (), torch.zeros(0, 1))]
    moments = moments_of(photos, 1, 2, 0.5)
    assert moments.sides.counts.tolist() == [[1], [0]]
    lines = fit(moments.scatter, moments.sides, 1.0, Lines.none(1, 2))
    torch.testing.assert_close(lines.vectors, torch.tensor([[0.5**0.5, -(0.5**0.5)]]))


def test_one_photo_of_one_feature_has_no_discriminant_and_what_was_known_is_kept():
    moments = moments_of([Seen(torch.ones(4, 2), (0,), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))], 1, 2, 0.5)
    assert not fit(moments.scatter, moments.sides, 1.0, Lines.none(1, 2)).vectors.any()
    before = Lines(torch.tensor([[0.6, 0.8]]), torch.tensor([0.1]))
    kept = fit(moments.scatter, moments.sides, 1.0, before)
    assert torch.equal(kept.vectors, before.vectors)
    assert torch.equal(kept.offsets, before.offsets)
    nothing = fit(Scatter.none(2), moments_of([], 1, 2, 0.5).sides, 1.0, Lines.none(1, 2))
    assert not nothing.vectors.any()


def made(seed: int = 0) -> Discriminants:
    generator = torch.Generator().manual_seed(seed)
    lines = Lines(torch.rand(2, 4, generator=generator), torch.rand(2, generator=generator))
    provenance = DiscriminantProvenance(("cat", "cow"), "a" * 64, layer="layer4", stride=16)
    return Discriminants(lines, torch.tensor([[3, 0], [9, 12]]), provenance)


def test_a_file_comes_back_as_it_was(tmp_path):
    first = made()
    first.save(tmp_path / "f.safetensors")
    again = Discriminants.load(tmp_path / "f.safetensors")
    assert again.provenance == first.provenance
    assert again.sha256 == first.sha256 != made(1).sha256
    assert torch.equal(again.lines.vectors, first.lines.vectors)
    assert torch.equal(again.lines.offsets, first.lines.offsets)
    assert again.class_counts() == {
        "cat": {"object_vectors": 3, "rest_vectors": 9},
        "cow": {"object_vectors": 0, "rest_vectors": 12},
    }


def test_a_file_of_another_kind_or_damaged_is_refused_in_one_line(tmp_path):
    path = tmp_path / "f.safetensors"
    with pytest.raises(LpcamError, match="does not exist: run 'lpcam cluster --method fisher' first"):
        Discriminants.load(path)
    first = made()
    for broken in (
        replace(first, lines=replace(first.lines, offsets=torch.tensor([0.0, torch.nan]))),
        replace(first, lines=replace(first.lines, vectors=torch.rand(3, 4))),
    ):
        broken.save(path)
        with pytest.raises(LpcamError, match="not a whole lpcam discriminant file"):
            Discriminants.load(path)
    first.save(path)
    with pytest.raises(LpcamError, match="not a whole lpcam prototype file"):
        Prototypes.load(path)


@pytest.mark.parametrize("wrong", [{"tau": 1.0}, {"own_tau": -0.1}, {"ridge": 0.0}, {"passes": 0}])
def test_a_profile_out_of_range_says_so(wrong):
    (name,) = wrong
    with pytest.raises(LpcamError, match=f"{name} is .*: choose"):
        FisherProfile(**wrong)
