"""Lloyd over vectors whose parts have several holders: the same bytes, and little that travels."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from lpcam.kmeans import Holder, Joined, kmeans, resident
from lpcam.kmeans.joined import Add, Read, Take
from lpcam.kmeans.sources import BLOCK_ROWS, tally, total
from tests.test_kmeans import relu_vectors
from tests.test_kmeans_sources import ROWS, same


@pytest.fixture(scope="module")
def vectors():
    return relu_vectors(ROWS, channels=24, groups=9)


class Asked:
    """Asks holders of this process, from threads, and remembers what for."""

    def __init__(self, holders):
        self.holders, self.log = holders, []

    def __call__(self, questions):
        copies = pickle.loads(pickle.dumps(dict(questions)))
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda part: self.holders[part].answer(copies[part]), copies))
        self.log.append((copies, answers))
        return dict(zip(copies, answers, strict=True))


def cut(vectors, *places):
    """Return the rows as parts that end at these places, and what asks for them."""
    ends = [*places, len(vectors)]
    parts = [resident(vectors[first:last]) for first, last in zip([0, *places], ends, strict=True)]
    asked = Asked([Holder(part) for part in parts])
    return Joined([part.usable for part in parts], vectors.shape[1], asked), asked


@pytest.mark.parametrize("places", [(), (BLOCK_ROWS,), (BLOCK_ROWS, 3 * BLOCK_ROWS), (BLOCK_ROWS, 2 * BLOCK_ROWS)])
def test_parts_that_are_whole_blocks_give_the_bytes_of_their_concatenation(vectors, places):
    parts, _ = cut(vectors, *places)
    assert same(kmeans(parts, 6, seed=2, restarts=2), kmeans(vectors, 6, seed=2, restarts=2))


def test_other_parts_give_the_result_of_their_concatenation_to_rounding(vectors):
    start = vectors[:6]
    parts, whole = (kmeans(given, 6, start=start) for given in (cut(vectors, 100, 4000)[0], vectors))
    assert torch.equal(parts.assignments, whole.assignments)
    assert float((parts.centres - whole.centres).abs().max() / whole.centres.abs().max()) < 1e-6
    assert parts.objective == pytest.approx(whole.objective, abs=1e-6)


def test_rows_without_direction_are_left_out_of_every_part(vectors):
    broken = vectors.clone()
    broken[[5, BLOCK_ROWS + 9]] = torch.tensor([[0.0], [float("nan")]])
    broken[2 * BLOCK_ROWS : 3 * BLOCK_ROWS] = 0  # a whole block
    usable = broken.isfinite().all(1) & broken.any(1)
    start = vectors[10:16]
    found = kmeans(cut(broken, BLOCK_ROWS)[0], 6, start=start, iterations=4)
    expected = kmeans(broken[usable], 6, start=start, iterations=4)
    assert torch.equal(found.assignments[usable], expected.assignments)
    assert found.assignments[~usable].unique().tolist() == [-1]
    assert torch.allclose(found.centres, expected.centres, rtol=1e-6)


def test_an_empty_cluster_starts_again_at_the_worst_row_of_all_parts(vectors):
    start = torch.cat([vectors[:1].abs(), -torch.ones(1, 24)])  # no non-negative vector is nearest to the second
    for given in (vectors, cut(vectors, 1000, 5000)[0]):
        found = kmeans(given, 2, start=start, iterations=20)
        assert len(found.sizes) == 2


@pytest.mark.parametrize("count", [2, 3, 4])
def test_no_more_vectors_than_centres_in_parts(count):
    vectors = relu_vectors(count)
    found = kmeans(cut(vectors, 1)[0], 4)
    assert torch.equal(found.centres, vectors)
    assert found.assignments.tolist() == list(range(count))


def test_no_part_at_all_is_no_vector():
    found = kmeans(Joined([], 24, lambda questions: pytest.fail("somebody was asked")), 4)
    assert found.centres.shape == (0, 24)
    assert len(found.assignments) == 0


def test_a_read_by_hand():
    rows = torch.tensor([[2.0, 0.0], [0.0, 3.0], [3.0, 4.0], [0.0, 5.0]])
    source, asked = cut(rows, 2)
    (found,) = source.tallies(torch.eye(2), final=True)
    assert found.sums.tolist() == [[2.0, 0.0], [3.0, 12.0]]
    assert found.counts.tolist() == [1, 3]
    assert found.labels.tolist() == [0, 1, 1, 1]
    assert (float(found.objective), float(found.worst_cosine), int(found.worst_row)) == (14.0, pytest.approx(0.8), 2)
    kinds = [{part: type(question) for part, question in questions.items()} for questions, _ in asked.log]
    assert kinds == [{0: Read, 1: Read}, {0: Add}, {1: Add}], "all read at the same time, then one adds after the other"


def test_tallies_are_added_in_the_order_of_the_blocks_whoever_holds_them():
    """1 + 10¹⁶ − 10¹⁶ + 1 is 1 in this order, 0 or 2 in others; sums of float32 are often exact and hide that."""
    values = [1.0, 1e16, -1e16, 1.0]
    one = tally(torch.ones(1, 1), torch.ones(1), torch.ones(1, 1), first=0, final=True)
    every = [replace(one, sums=torch.tensor([[value]], dtype=torch.float64)) for value in values]
    assert total(every).sums.tolist() == [[1.0]]
    for place in (1, 2, 3):
        holders = [Holder(Given(part)) for part in (every[:place], every[place:])]
        source = Joined([torch.ones(place).bool(), torch.ones(4 - place).bool()], 1, Asked(holders))
        (found,) = source.tallies(torch.ones(1, 1))
        assert found.sums.tolist() == [[1.0]]


class Given:
    """A source whose tallies are given."""

    channels, device = 1, torch.device("cpu")

    def __init__(self, tallies):
        self._tallies = tallies

    def tallies(self, directions, *, final=False):
        return iter(self._tallies)


def test_rows_are_taken_in_the_order_asked_for_with_one_question_a_part(vectors):
    source, asked = cut(vectors, 100, 4000)
    rows = [ROWS - 1, 5, 4000, 99, 100, 5]
    assert torch.equal(source.take(rows), vectors[rows])
    ((questions, _),) = asked.log
    assert questions == {0: Take((5, 99, 5)), 1: Take((0,)), 2: Take((ROWS - 4001, 0))}


def test_what_travels_in_a_read_does_not_grow_with_the_rows(vectors):
    """Twice the blocks, the same bytes: a view that were sent would take all that it is a view of with it."""

    def travelled(rows, final):
        source, asked = cut(vectors[:rows], rows - BLOCK_ROWS)
        list(source.tallies(vectors[:6], final=final))
        return len(pickle.dumps(asked.log))

    few, many = 2 * BLOCK_ROWS, 3 * BLOCK_ROWS
    noise = 1024  # a pickled tensor carries digits of its address; the smallest view of a block takes kilobytes
    assert travelled(many, final=False) == pytest.approx(travelled(few, final=False), abs=noise)
    assert travelled(many, final=True) - travelled(few, final=True) == pytest.approx(8 * BLOCK_ROWS, rel=0.01)


def test_a_holder_lets_its_tallies_go(vectors):
    holder = Holder(resident(vectors))
    holder.answer(Read(vectors[:3], final=False))
    found = holder.answer(Add(None, 10))
    expected = total(resident(vectors).tallies(vectors[:3]))
    assert torch.equal(found.sums, expected.sums)
    assert int(found.worst_row) == int(expected.worst_row) + 10
    with pytest.raises(StopIteration):
        holder.answer(Add(None, 0))
