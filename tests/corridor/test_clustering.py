"""corridor.clustering: what every class is built from."""

from __future__ import annotations

import torch

from lpcam import corridor
from lpcam.corridor import clustering
from lpcam.workspace import Workspace


def test_the_class_weights_are_copied_once_and_not_for_every_class(tmp_path, data, classifier, monkeypatch):
    """A thousand copies of 10 MB, small results kept between them, took 30 GB."""
    given = []

    def noted(gather, weights, label, *rest, **options):
        given.append(weights)
        return build_class(gather, weights, label, *rest, **options)

    build_class = clustering.build_class
    monkeypatch.setattr(clustering, "build_class", noted)
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, data, classifier, scales=(1.0,))
    corridor.cluster(workspace)
    assert [weights.dtype for weights in given] == [torch.float64, torch.float64]  # which .double() does not copy
    assert given[0] is given[1]
