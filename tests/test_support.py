"""support: banks of instance prototypes, their clusters, and the file."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lpcam.errors import LpcamError
from lpcam.prototypes import Prototypes
from lpcam.support import (
    ClassContext,
    Support,
    SupportProfile,
    SupportProvenance,
    build_context,
    instance_of,
)


def support(seed: int = 0) -> Support:
    torch.manual_seed(0)
    contexts = [
        build_context(torch.rand(count, 4), label, SupportProfile(k=3)) for label, count in enumerate((9, 0, 2))
    ]
    made = SupportProvenance(("cat", "cow", "dog"), "a" * 64, layer="layer4", stride=16, seed=seed)
    return Support(tuple(contexts), made)


def test_an_instance_is_the_mean_under_the_cam_as_a_hand_counts_it():
    rows = torch.tensor([[1.0, 0.0], [3.0, 2.0], [100.0, 100.0]], dtype=torch.float16)
    assert instance_of(rows, torch.tensor([0.2, 1.0, 0.1]), 0.1).tolist() == [2.0, 1.0]  # .1 itself does not count


def test_two_kinds_of_instances_become_two_contexts():
    instances = torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 1.0], [0.0, 5.0], [0.0, 0.0]])
    found = build_context(instances, 0, SupportProfile(k=2))
    assert sorted(found.vectors.tolist()) == [[0.0, 3.0], [3.0, 0.0]]
    assert found.counts() == {"instances": 4, "context_prototypes": 2}  # zero has no direction


def test_classes_start_apart_and_a_class_starts_the_same_again():
    bank = torch.rand(60, 4, generator=torch.Generator().manual_seed(1))
    profile = SupportProfile(k=7, iterations=1)
    first, again, other = (build_context(bank, label, profile, seed=3).vectors for label in (0, 0, 1))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.allclose(first, other)


def test_a_file_comes_back_as_it_was(tmp_path):
    made = support()
    made.save(tmp_path / "s.safetensors")
    again = Support.load(tmp_path / "s.safetensors")
    assert again.provenance == made.provenance
    assert again.sha256 == made.sha256
    assert [entry.counts() for entry in again.context] == [
        {"instances": 9, "context_prototypes": 3},
        {"instances": 0, "context_prototypes": 0},
        {"instances": 2, "context_prototypes": 2},
    ]
    for one, other in zip(again.context, made.context, strict=True):
        assert torch.equal(one.vectors, other.vectors)
        assert torch.equal(one.sizes, other.sizes)
    assert support(seed=1).sha256 != made.sha256


def test_a_file_of_another_kind_or_damaged_is_refused_in_one_line(tmp_path):
    path = tmp_path / "s.safetensors"
    with pytest.raises(LpcamError, match="does not exist: run 'lpcam cluster --method pacam' first"):
        Support.load(path)
    made = support()
    broken = replace(made, context=(*made.context[:2], ClassContext(torch.full((1, 4), torch.nan), torch.ones(1), 1)))
    broken.save(path)
    with pytest.raises(LpcamError, match="not a whole lpcam support file"):
        Support.load(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(LpcamError, match="not a whole lpcam support file"):
        Support.load(path)
    made.save(path)
    with pytest.raises(LpcamError, match="not a whole lpcam prototype file"):
        Prototypes.load(path)


@pytest.mark.parametrize("wrong", [{"bank": 0}, {"k": 0}, {"tau": 1.0}, {"restarts": 0}, {"iterations": 0}])
def test_a_profile_out_of_range_says_so(wrong):
    (name,) = wrong
    with pytest.raises(LpcamError, match=f"{name} is .*: choose"):
        SupportProfile(**wrong)
