"""transfer: what a device hands to the host, and when it is there."""

from __future__ import annotations

import pytest
import torch

from lpcam.transfer import arrival, to_host


def test_what_is_on_the_host_is_not_copied():
    tensor = torch.rand(3)
    assert to_host(tensor) is tensor
    assert arrival(tensor.device)() is None


@pytest.mark.gpu
def test_what_comes_from_a_gpu_is_there_after_its_arrival():
    tensor = torch.rand(4 << 20, device="cuda")
    product = tensor.view(2048, 2048) @ tensor.view(2048, 2048)
    sent, arrived = to_host(product), arrival(product.device)
    arrived()
    assert sent.is_pinned()
    assert torch.equal(sent, product.cpu())
