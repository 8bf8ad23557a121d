"""corridor.gathering: where the vectors of a class are clustered."""

from __future__ import annotations

import pytest
import torch

from lpcam.corridor import gathering
from lpcam.kmeans import kmeans, resident


@pytest.mark.parametrize(("room", "copied"), [(5000 * 8 * 4, True), (5000 * 8 * 4 - 1, False)])
def test_a_side_is_copied_to_a_device_with_room_for_it_and_streamed_to_another(room, copied, monkeypatch):
    vectors = torch.rand(5000, 8)
    monkeypatch.setattr(gathering, "_room", lambda device: room)
    whole = []
    monkeypatch.setattr(
        "lpcam.kmeans.sources.resident", lambda rows, **options: whole.append(len(rows)) or resident(rows)
    )
    source = gathering.near(vectors, "cpu:0")  # every device but "cpu" is asked for its room
    assert whole == ([5000] if copied else [])
    assert torch.equal(kmeans(source, 3).centres, kmeans(vectors, 3).centres)


def test_vectors_on_the_cpu_stay_where_they_are(monkeypatch):
    monkeypatch.setattr(gathering, "_room", lambda device: pytest.fail("asked for room"))
    vectors = torch.rand(10, 8)
    source = gathering.near(vectors, "cpu")
    vectors[3] = 7.0
    assert torch.equal(source.take([3]), torch.full((1, 8), 7.0)), "read in place"
