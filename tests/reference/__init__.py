"""Slow transcriptions of the papers, loop by loop: the oracles of the fast paths."""
