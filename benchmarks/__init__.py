"""Benchmarks: ``python -m benchmarks.NAME``; the methodology is in README.md."""
