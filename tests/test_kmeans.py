"""kmeans: by hand, by law, and against the slow transcription, for both engines."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpcam.kmeans import assign, kmeans
from tests.reference import kmeans as reference

ENGINES = ("faiss", "torch")


def relu_vectors(count: int = 600, channels: int = 24, groups: int = 5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(groups, channels, generator=generator) ** 4 * 10
    drawn = torch.randint(groups, (count,), generator=generator)
    noise = torch.randn(count, channels, generator=generator)
    norms = torch.rand(count, 1, generator=generator) + 0.2
    return torch.relu(centres[drawn] + noise) * norms


@pytest.mark.parametrize("engine", ENGINES)
def test_by_hand(engine):
    vectors = torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 5.0]])
    found = kmeans(vectors, 2, start=torch.tensor([[1.0, 0.1], [0.1, 1.0]]), engine=engine)
    assert found.centres.tolist() == [[3.0, 0.0], [0.0, 3.0]]
    assert found.sizes.tolist() == [2, 3]
    assert found.assignments.tolist() == [0, 0, 1, 1, 1]
    assert found.objective == pytest.approx(1.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_equals_the_slow_transcription_from_equal_starts(engine):
    vectors = relu_vectors(200)
    start = vectors[:5]
    found = kmeans(vectors, 5, start=start, iterations=4, engine=engine)
    centres, assignments = reference.kmeans(vectors.double().numpy(), start.double().numpy(), 4)
    assert found.assignments.tolist() == assignments
    assert np.abs(found.centres.double().numpy() - raw_means(vectors, assignments)).max() < 1e-5
    assert np.abs(found.centres.double().numpy() - centres).max() < 0.5  # one more assignment than the loop


def raw_means(vectors: torch.Tensor, assignments: list[int]) -> np.ndarray:
    labels = np.array(assignments)
    return np.stack([vectors.double().numpy()[labels == index].mean(axis=0) for index in range(labels.max() + 1)])


@pytest.mark.parametrize("engine", ENGINES)
def test_raw_norms_do_not_move_assignments_but_move_centres(engine):
    vectors = relu_vectors()
    start = vectors[:5]
    plain = kmeans(vectors, 5, start=start, engine=engine)
    assert torch.equal(assign(vectors, plain.centres), plain.assignments)
    for index in range(len(plain.centres)):
        members = vectors[plain.assignments == index]
        assert torch.allclose(plain.centres[index], members.double().mean(0).float(), atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_more_iterations_and_more_restarts_do_no_worse(engine):
    vectors = relu_vectors(groups=9)
    objectives = [kmeans(vectors, 6, seed=3, iterations=count, engine=engine).objective for count in (1, 3, 50)]
    assert objectives[0] <= objectives[1] + 1e-6
    assert objectives[1] <= objectives[2] + 1e-6
    best = kmeans(vectors, 6, seed=3, restarts=8, iterations=50, engine=engine).objective
    assert best >= objectives[2] - 2e-3  # chosen by Σ x·ĉ, which weighs long vectors more


@pytest.mark.parametrize("engine", ENGINES)
def test_same_seed_same_bytes_other_seed_other_start(engine):
    vectors = relu_vectors(groups=20)
    first, second = (kmeans(vectors, 7, seed=5, engine=engine) for _ in range(2))
    assert torch.equal(first.centres, second.centres)
    others = [kmeans(vectors, 7, seed=seed, iterations=1, engine=engine).centres for seed in range(4)]
    assert any(other.shape != others[0].shape or not torch.equal(other, others[0]) for other in others[1:])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_no_more_vectors_than_centres(engine, count):
    vectors = relu_vectors(count)
    found = kmeans(vectors, 4, engine=engine)
    assert torch.equal(found.centres, vectors)
    assert found.sizes.tolist() == [1] * count


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_vectors_make_one_centre_and_nothing_is_nan(engine):
    found = kmeans(torch.full((40, 8), 0.5), 12, engine=engine)
    assert found.centres.tolist() == [[0.5] * 8]
    assert found.sizes.tolist() == [40]
    assert found.objective == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_half_the_data_identical_still_works(engine):
    vectors = relu_vectors(300)
    vectors[::2] = vectors[0]
    found = kmeans(vectors, 12, engine=engine)
    assert bool(found.centres.isfinite().all())
    assert int(found.sizes.sum()) == 300
    assert int(found.sizes.min()) >= 1


@pytest.mark.parametrize("engine", ENGINES)
def test_vectors_without_direction_are_left_out(engine):
    vectors = relu_vectors(100)
    vectors[3], vectors[50] = 0.0, float("nan")
    found = kmeans(vectors, 5, engine=engine)
    assert found.assignments[[3, 50]].tolist() == [-1, -1]
    assert int(found.sizes.sum()) == 98
    assert bool(found.centres.isfinite().all())


def test_both_engines_find_clusters_of_the_same_quality():
    vectors = relu_vectors(2000, groups=8)
    found = [kmeans(vectors, 8, restarts=6, engine=engine).objective for engine in ENGINES]
    assert found[0] == pytest.approx(found[1], abs=5e-3)


@pytest.mark.parametrize(
    ("vectors", "k", "more", "message"),
    [
        (torch.zeros(3), 2, {}, "float32 vectors"),
        (torch.zeros(3, 2, dtype=torch.float16), 2, {}, "float32 vectors"),
        (torch.ones(3, 2), 0, {}, "1 or more"),
        (torch.ones(3, 2), 2, {"start": torch.ones(3, 2)}, "expected start"),
        (torch.ones(3, 2, device="meta"), 2, {"engine": "faiss"}, "on the CPU"),
        (torch.ones(3, 2), 2, {"engine": "numpy"}, "expected an engine"),
    ],
)
def test_programmers_errors(vectors, k, more, message):
    with pytest.raises(ValueError, match=message):
        kmeans(vectors, k, **more)


@pytest.mark.gpu
def test_torch_engine_on_cuda_equals_cpu():
    vectors = relu_vectors(2000)
    start = vectors[:5]
    here, there = kmeans(vectors, 5, start=start, engine="torch"), kmeans(vectors.cuda(), 5, start=start.cuda())
    assert torch.equal(here.assignments, there.assignments.cpu())
