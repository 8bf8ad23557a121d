"""methods.cam: by hand, against the transcription, and the golden maps of the published code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpcam.methods.cam import Cam, class_activation
from lpcam.records import ViewFeatures
from lpcam.views import merge_scales
from tests.reference import cam as reference


def test_by_hand():
    features = torch.tensor([[1.0, 2.0], [3.0, 0.0]]).view(1, 2, 1, 2)  # f = (1, 3) and (2, 0)
    weights = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    assert class_activation(features, weights)[0, :, 0].tolist() == [[4.0, 2.0], [0.0, 2.0]]


def test_image_and_mirror_are_added_pixel_by_pixel():
    features = torch.randn(2, 5, 3, 4)
    weights = torch.randn(3, 5)
    found = Cam(weights).view_maps(ViewFeatures(features), (2, 0))
    for row, label in enumerate((2, 0)):
        expected = reference.view_map(
            features[0].double().numpy(), features[1].double().numpy(), weights[label].double().numpy()
        )
        assert np.abs(found[row].numpy() - expected).max() < 1e-5


def test_channels_last_changes_nothing():
    features, weights = torch.randn(2, 8, 5, 6), torch.randn(3, 8)
    plain = class_activation(features, weights)
    assert torch.allclose(class_activation(features.to(memory_format=torch.channels_last), weights), plain, atol=1e-5)


def test_no_label_no_map():
    assert Cam(torch.randn(3, 8)).view_maps(ViewFeatures(torch.randn(2, 8, 5, 6)), ()).shape == (0, 5, 6)


@pytest.mark.real
@pytest.mark.parametrize("index", range(1, 6))
def test_golden_maps(real_data, index):
    prototypes = np.load(real_data / "parity/prototypes.npz")
    golden = np.load(real_data / f"parity/2007_{index:06d}.npz")
    features = [torch.tensor(golden[f"features_u8_scale{scale}"]).float() / 32 for scale in range(4)]
    labels, size = tuple(golden["labels"].tolist()), tuple(golden["size"].tolist())
    cam = Cam(torch.tensor(prototypes["classifier_weight"]))
    maps = merge_scales([cam.view_maps(ViewFeatures(view), labels) for view in features], labels, size, cam.epsilon)
    assert np.abs(maps.strided.numpy() - golden["cam_strided"]).max() < 1e-5
    assert np.abs(maps.high_res.numpy() - golden["cam_high_res"]).max() < 1e-5
