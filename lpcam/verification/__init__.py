"""Whether the files of a workspace are what was written: ``lpcam verify``."""

from __future__ import annotations

from lpcam.verification.verdict import Problem, Verdict
from lpcam.verification.workspace import verify

__all__ = ["Problem", "Verdict", "verify"]
