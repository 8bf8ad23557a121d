"""Tables: values as a person reads them, numbers to the right, nothing taken for markup."""

from __future__ import annotations

import doctest

from lpcam_cli import tables


def test_the_examples_of_the_docstrings():
    results = doctest.testmod(tables)
    assert (results.failed, results.attempted > 0) == (0, True)


def test_words_stand_left_and_numbers_right(capsys):
    tables.print_table(("class", "boxes", "what"), [("cow", "5", "[3, 4] keys"), ("train", "1,464", "3 keys")])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["class  boxes  what", "cow        5  [3, 4] keys", "train  1,464  3 keys"]


def test_many_classes_turn_the_table(capsys):
    header = ("method", *(f"c{index}" for index in range(12)))
    tables.print_table(header, [("cam", *map(str, range(12))), ("lpcam", *map(str, range(20, 32)))])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["method", "cam", "lpcam"]
    assert lines[-1] == ["c11", "11", "31"]
