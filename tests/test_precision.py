"""precision: the rule of the processor by hand, and that a number format is really computed in."""

from __future__ import annotations

import pytest
import torch

from lpcam.errors import LpcamError
from lpcam.precision import PRECISIONS, computing_in, resolve_precision


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_a_named_precision_is_kept(precision, device):
    assert resolve_precision(precision, device) == precision


@pytest.mark.parametrize(
    ("abilities", "expected"),
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"avx512_f": True}, "float32"),
        ({}, "float32"),
    ],
)
def test_auto_asks_the_processor_for_bfloat16_units(monkeypatch, abilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)
    assert resolve_precision("auto", "cpu") == expected


@pytest.mark.parametrize(("supported", "expected"), [(True, "bfloat16"), (False, "float16")])
def test_auto_on_cuda(monkeypatch, supported, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert resolve_precision("auto", "cuda:1") == expected


def test_the_first_is_the_default_and_an_unknown_one_names_the_nearest():
    assert PRECISIONS[0] == "float32"
    with pytest.raises(LpcamError, match="unknown precision 'bfloat61': did you mean 'bfloat16'"):
        resolve_precision("bfloat61", "cpu")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_convolutions_compute_in_it(precision, dtype):
    image, kernel = torch.rand(1, 3, 4, 4), torch.rand(2, 3, 1, 1)
    with computing_in(precision, "cpu"):
        assert torch.conv2d(image, kernel).dtype == dtype
    assert torch.conv2d(image, kernel).dtype == torch.float32, "only inside"


@pytest.mark.gpu
def test_float32_on_cuda_is_not_tensorfloat():
    image, kernel = torch.rand(1, 64, 32, 32), torch.rand(64, 64, 3, 3)
    expected = torch.conv2d(image.double(), kernel.double())
    with computing_in("float32", "cuda"):
        found = torch.conv2d(image.cuda(), kernel.cuda()).cpu()
    assert (found - expected).abs().max() / expected.abs().max() < 1e-6
