"""methods.fisher: the maps against the slow transcription, and features without a direction."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpcam.methods.fisher import Fisher
from lpcam.records import ViewFeatures
from tests.reference.fisher import localise


@pytest.fixture
def method() -> Fisher:
    generator = torch.Generator().manual_seed(1)
    return Fisher(torch.randn(3, 5, generator=generator), torch.tensor([0.1, -0.2, 0.0]))


def test_maps_are_the_transcription(method):
    views = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(2))
    both = (views[0] + views[1].flip(-1)).double().numpy()
    found = method.view_maps(ViewFeatures(views), (2, 0))
    for row, label in enumerate((2, 0)):
        expected = localise(both, method.vectors[label].double().numpy(), float(method.offsets[label]))
        np.testing.assert_allclose(found[row], expected, atol=1e-6)
    alone = method.view_maps(ViewFeatures(views[:1]), (0, 1, 2))
    assert torch.equal(alone, method.activation(views[0]))
    assert bool((alone > 0).any() and (alone == 0).any())


def test_a_feature_without_a_direction_is_nowhere_and_an_image_without_labels_has_no_map(method):
    features = torch.ones(1, 5, 2, 2)
    features[..., 1, 1] = 0
    assert method.view_maps(ViewFeatures(features), (1,))[0, 1, 1] == 0  # though its offset is below 0
    assert method.view_maps(ViewFeatures(features), ()).shape == (0, 2, 2)


def test_the_length_of_a_feature_does_not_matter(method):
    features = torch.rand(5, 1, 2, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(method.activation(features), method.activation(1000 * features))
