"""corridor.clustering: where the vectors of a class are clustered."""

from __future__ import annotations

import pytest
import torch

from lpcam import corridor
from lpcam.corridor import clustering
from lpcam.kmeans import kmeans, resident
from lpcam.workspace import Workspace


@pytest.mark.parametrize(("room", "copied"), [(5000 * 8 * 4, True), (5000 * 8 * 4 - 1, False)])
def test_a_side_is_copied_to_a_device_with_room_for_it_and_streamed_to_another(room, copied, monkeypatch):
    vectors = torch.rand(5000, 8)
    monkeypatch.setattr(clustering, "_room", lambda device: room)
    whole = []
    monkeypatch.setattr("lpcam.kmeans.sources.resident", lambda rows: whole.append(len(rows)) or resident(rows))
    source = clustering._near(vectors, "cpu:0")  # every device but "cpu" is asked for its room
    assert whole == ([5000] if copied else [])
    assert torch.equal(kmeans(source, 3).centres, kmeans(vectors, 3).centres)


def test_vectors_on_the_cpu_stay_where_they_are(monkeypatch):
    monkeypatch.setattr(clustering, "_room", lambda device: pytest.fail("asked for room"))
    vectors = torch.rand(10, 8)
    assert clustering._near(vectors, "cpu") is vectors


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
