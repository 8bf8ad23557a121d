"""Dictionaries in ``.npy`` files: the field's file format, read without trust and written for old readers.

IRN-style repositories keep labels and activation maps as ``np.save(path, {...})``: the npy header of a
0-d object array, then a pickle of that array. Reading such a file with ``np.load(allow_pickle=True)`` runs
whatever code it asks for; NumPy ≥ 2 writes module names that NumPy < 1.26 cannot import. This file owns
both sides of the format.
"""

from __future__ import annotations

from lpcam.pickles.reading import load_dictionary
from lpcam.pickles.values import require_extent
from lpcam.pickles.writing import save_dictionary

__all__ = ["load_dictionary", "require_extent", "save_dictionary"]
