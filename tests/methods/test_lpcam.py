"""methods.lpcam: by hand, by law, against the transcription, and the golden maps of the published code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lpcam.methods.lpcam import Lpcam, fold, prototype_activation
from lpcam.records import ViewFeatures
from lpcam.views import merge_scales
from tests.reference import lpcam as reference
from tests.reference import one_by_one


def test_by_hand():
    features = torch.tensor([[3.0, 0.0], [4.0, 2.0]]).view(1, 2, 1, 2)  # f = (3, 4) and (0, 2)
    folded = fold(torch.tensor([[1.0, 0.0], [0.0, 5.0]]), torch.tensor([[2.0, 0.0]]))
    assert folded.tolist() == [-0.5, 0.5]
    # FG = (.6 + .8) / 2, BG = .6 → .1; FG = (0 + 1) / 2, BG = 0 → .5
    assert prototype_activation(features, folded[None]).flatten().tolist() == pytest.approx([0.1, 0.5])


def prototypes(count: int, channels: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, channels, generator=torch.Generator().manual_seed(seed))


def test_folded_equals_the_slow_transcription():
    features = torch.rand(1, 6, 4, 5)
    classes, context = prototypes(3), prototypes(2, seed=1)
    found = prototype_activation(features, fold(classes, context)[None])[0, 0].numpy()
    expected = reference.localise(
        features[0].double().numpy(), list(classes.double().numpy()), list(context.double().numpy())
    )
    assert expected.max() > 0
    assert np.abs(found - expected).max() < 1e-6
    loop = one_by_one.localise(features[0], classes, context).numpy()
    assert np.abs(found - loop).max() < 1e-6


def test_no_context_subtracts_nothing():
    features, classes = torch.rand(1, 6, 4, 5), prototypes(3)
    found = prototype_activation(features, fold(classes, torch.zeros(0, 6))[None])[0, 0].numpy()
    expected = reference.localise(features[0].double().numpy(), list(classes.double().numpy()), [])
    assert np.abs(found - expected).max() < 1e-6


def test_order_copies_and_norms_of_prototypes_do_not_matter():
    classes, context = prototypes(4), prototypes(3, seed=1)
    folded = fold(classes, context)
    assert torch.allclose(fold(classes.flip(0), context.flip(0)), folded, atol=1e-7)
    assert torch.allclose(fold(classes.repeat(3, 1), context.repeat(2, 1)), folded, atol=1e-7)
    assert torch.allclose(fold(classes * torch.tensor([[1.0], [7.0], [0.1], [3.0]]), context), folded, atol=1e-6)


def test_scaling_features_changes_no_map():
    features, folded = torch.rand(2, 6, 4, 5), torch.randn(3, 6)
    first = prototype_activation(features, folded)
    assert torch.allclose(prototype_activation(1000 * features, folded), first, atol=1e-6)
    assert float(first.max()) <= math.sqrt(float((folded**2).sum(1).max())) + 1e-6


def test_a_position_without_features_is_zero_not_nan():
    assert prototype_activation(torch.zeros(1, 6, 2, 2), torch.randn(2, 6)).abs().max() == 0


def test_features_of_image_and_mirror_are_added_before_the_cosine():
    features, folded = torch.rand(2, 6, 3, 4), torch.rand(5, 6)  # nothing negative, so no map is zero
    found = Lpcam(folded).view_maps(ViewFeatures(features), (4, 1))
    both = features[0] + features[1].flip(-1)
    expected = prototype_activation(both[None], folded)[0, [4, 1]]
    assert torch.allclose(found, expected, atol=1e-6)
    separate = prototype_activation(features[:1], folded)[0, [4, 1]]
    assert not torch.allclose(found, separate, atol=1e-3)


@pytest.mark.real
@pytest.mark.parametrize("index", range(1, 6))
def test_golden_maps(real_data, index):
    given = np.load(real_data / "parity/prototypes.npz")
    golden = np.load(real_data / f"parity/2007_{index:06d}.npz")
    features = [torch.tensor(golden[f"features_u8_scale{scale}"]).float() / 32 for scale in range(4)]
    labels, size = tuple(golden["labels"].tolist()), tuple(golden["size"].tolist())
    folded = torch.zeros(20, 2048)
    for label in labels:
        folded[label] = fold(
            torch.tensor(given[f"class_prototypes_{label}"]), torch.tensor(given[f"context_prototypes_{label}"])
        )
    method = Lpcam(folded)
    maps = merge_scales(
        [method.view_maps(ViewFeatures(view), labels) for view in features], labels, size, method.epsilon
    )
    assert np.abs(maps.strided.numpy() - golden["lpcam_strided"]).max() < 1e-5
    assert np.abs(maps.high_res.numpy() - golden["lpcam_high_res"]).max() < 1e-5
