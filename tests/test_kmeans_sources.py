"""Lloyd over vectors that are not one tensor: streamed blocks, any number of threads, any order of finishing."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from lpcam.kmeans import Blocks, kmeans, placed, resident
from lpcam.kmeans.sources import BLOCK_ROWS, _read_ahead, total
from tests.reference.kmeans import nearest
from tests.test_kmeans import relu_vectors

ROWS = 3 * BLOCK_ROWS + 700


@pytest.fixture(scope="module")
def vectors():
    return relu_vectors(ROWS, channels=24, groups=9)


@pytest.fixture
def threads():
    """Set torch's threads, and set them back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def same(left, right):
    equal = [torch.equal(getattr(left, name), getattr(right, name)) for name in ("centres", "sizes", "assignments")]
    return all(equal) and left.objective == right.objective


def test_a_tally_by_hand():
    vectors = torch.tensor([[2.0, 0.0], [0.0, 3.0], [0.0, 0.0], [3.0, 4.0]])
    found = total(resident(vectors).tallies(torch.eye(2), final=True))
    assert found.sums.tolist() == [[2.0, 0.0], [3.0, 7.0]]
    assert found.unit_sums.tolist() == pytest.approx(np.array([[1.0, 0.0], [0.6, 1.8]]))
    assert found.counts.tolist() == [1, 2]
    assert found.labels.tolist() == [0, 1, -1, 1]
    assert (float(found.objective), float(found.worst_cosine), int(found.worst_row)) == (9.0, pytest.approx(0.8), 3)


def test_a_tally_of_many_blocks_is_that_of_the_slow_transcription(vectors):
    directions = torch.nn.functional.normalize(vectors[:5], dim=1)
    found = total(resident(vectors).tallies(directions, final=True))
    rows = vectors[::50].double().numpy()
    assert found.labels[::50].tolist() == nearest(rows, directions.double().numpy())
    for label in range(5):
        members = vectors[found.labels == label].double()
        assert torch.allclose(found.sums[label], members.sum(0), rtol=1e-6)
        units = members / members.norm(dim=1, keepdim=True)
        assert torch.allclose(found.unit_sums[label], units.sum(0), rtol=1e-6)
    cosines = (vectors @ directions.T).amax(1) / vectors.norm(dim=1)
    assert int(found.worst_row) == int(cosines.argmin())


def test_the_objective_is_the_mean_cosine_to_the_centres(vectors):
    found = kmeans(vectors, 6, iterations=3)
    cosines = torch.nn.functional.cosine_similarity(vectors, found.centres[found.assignments])
    assert found.objective == pytest.approx(float(cosines.double().mean()), abs=1e-6)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_same_bytes_whatever_the_number_of_threads(vectors, threads, count):
    expected = kmeans(vectors, 6, seed=1, restarts=2)
    threads(count)
    assert same(kmeans(vectors, 6, seed=1, restarts=2), expected)
    assert torch.get_num_threads() == count


def test_one_block_is_done_here_by_one_thread_and_the_number_of_threads_is_back_at_once(vectors, threads):
    seen = []

    def load(first, last):
        seen.append((threading.current_thread(), torch.get_num_threads()))
        return vectors[first:last]

    source = Blocks(load, 500, 24, "cpu")
    threads(3)
    seen.clear()
    tallies = source.tallies(vectors[:4])
    next(tallies)
    assert torch.get_num_threads() == 3
    assert seen == [(threading.current_thread(), 1)]


def test_same_bytes_whatever_the_order_in_which_blocks_finish(vectors):
    finished = []

    def slow_first(first, last):
        time.sleep(0.02 if first == 0 else 0.0)
        finished.append(first)
        return vectors[first:last]

    expected = kmeans(vectors, 6, seed=2, iterations=3)
    late = Blocks(slow_first, ROWS, 24, "cpu")
    finished.clear()
    if torch.get_num_threads() > 1:
        total(late.tallies(vectors[:6]))
        assert finished != sorted(finished)
    assert same(kmeans(late, 6, seed=2, iterations=3), expected)


def test_blocks_are_read_once_a_step_and_by_few_at_a_time(vectors):
    reads, lock = [], threading.Lock()

    def load(first, last):
        with lock:
            reads.append((first, last))
        return vectors[first:last].clone()

    source = Blocks(load, ROWS, 24, "cpu", block_rows=1000)
    reads.clear()
    total(source.tallies(vectors[:4]))
    assert sorted(reads) == [(first, min(first + 1000, ROWS)) for first in range(0, ROWS, 1000)]


def test_reading_ahead_keeps_the_order_and_is_one_ahead():
    read = []

    def slow(item):
        read.append(item)
        return item * 10

    results = _read_ahead(slow, range(5))
    assert next(results) == 0
    assert next(results) == 10
    time.sleep(0.05)
    assert read == [0, 1, 2]
    assert list(results) == [20, 30, 40]
    assert list(_read_ahead(slow, range(0))) == []


def test_vectors_are_placed_on_the_cpu_as_they_are(vectors):
    for budget in (0, 1 << 40):
        assert same(kmeans(placed(vectors, "cpu", budget=budget), 6, iterations=3), kmeans(vectors, 6, iterations=3))


def test_an_error_of_a_block_is_told_and_threads_are_set_back(vectors):
    before = torch.get_num_threads()

    def load(first, last):
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        Blocks(load, ROWS, 24, "cpu")
    assert torch.get_num_threads() == before


def test_programmers_errors(vectors):
    with pytest.raises(ValueError, match="one tensor on the CPU"):
        kmeans(resident(vectors), 3, engine="faiss")
    with pytest.raises(ValueError, match="expected start"):
        kmeans(resident(vectors), 3, start=vectors[:2])


@pytest.mark.gpu
@pytest.mark.parametrize("budget", [0, 1 << 40])
def test_streamed_and_resident_on_cuda_equal_the_cpu(budget):
    many = relu_vectors(100_000, groups=9)
    here = kmeans(many, 6, start=many[:6], iterations=5)
    there = kmeans(placed(many, "cuda", budget=budget), 6, start=many[:6], iterations=5)
    assert float((here.assignments == there.assignments.cpu()).double().mean()) > 0.9999
    assert torch.allclose(here.centres, there.centres.cpu(), rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
def test_a_step_on_cuda_does_not_wait_for_the_device():
    many = relu_vectors(50_000).cuda()
    source = resident(many)
    directions = torch.nn.functional.normalize(many[:5], dim=1)
    total(source.tallies(directions))
    torch.cuda.set_sync_debug_mode("error")
    try:
        total(source.tallies(directions))
    finally:
        torch.cuda.set_sync_debug_mode("default")
