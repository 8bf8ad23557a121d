"""methods.iscam: by hand, by law, against the transcription, and the golden values of the published code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.reference import sipe as reference

CASES = (0, 1, 2)


class Golden:
    """One case of the published code's own arithmetic, in float64."""

    def __init__(self, folder: Path, case: int) -> None:
        with np.load(folder / "parity/sipe.npz") as stored:
            self.values = {name[6:]: stored[name] for name in stored if name.startswith(f"case{case}_")}
        self.labels: list[int] = self.values["labels"].tolist()

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name].astype(float)


@pytest.fixture(params=CASES)
def golden(real_data, request) -> Golden:
    """Every case in turn."""
    return Golden(real_data, request.param)


@pytest.mark.real
def test_the_transcription_of_inference_is_the_published_code(golden):
    found = reference.infer(golden["cam_logits"], golden["hierarchical"], golden.labels)
    assert golden["infer_seeds"].any()
    for name, value in found.items():
        np.testing.assert_allclose(value, golden[f"infer_{name}"][0], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.real
def test_the_transcription_of_training_is_the_published_code(golden):
    first = golden["cam_logits"][0], golden["last_stage"][0], golden["hierarchical"][0]
    found = reference.train(*first, golden.labels)
    for name, value in found.items():
        np.testing.assert_allclose(value, golden[f"train_{name}"][0], rtol=0, atol=1e-5, err_msg=name)
    assert reference.consistency([found["cam"]], [found["iscam"]]) == pytest.approx(float(golden["gsc"]), abs=1e-5)
