"""What each repository does with a seed file, as REFINERS.md describes it: the access pattern of its reader.

Every reader takes the path of a file, the size of the photo and a threshold, and returns the label image
[H, W] (0 background, k+1 class k). They know nothing of lpcam. The file is run by old interpreters too, so it keeps to
Python 3.6 and to NumPy and torch.
"""

import numpy as np
import torch


def load(path):
    return np.load(str(path), allow_pickle=True).item()


def irn(path, size, threshold):
    """IRN, LPCAM, ReCAM: seed evaluation, IR labels, random walk."""
    content = load(path)
    assert set(content) == {"keys", "cam", "high_res"}
    height, width = size
    cam = content["cam"]
    assert torch.is_tensor(cam), "its reader calls .cuda()"
    assert cam.dtype == torch.float32
    count = len(content["keys"])
    assert tuple(cam.shape) == (count, (height - 1) // 4 + 1, (width - 1) // 4 + 1)
    edges = torch.ones((height - 1) // 4 + 1, (width - 1) // 4 + 1)
    assert (cam * edges).shape == cam.shape, "multiplied by an edge map of exactly this size"
    return padded(content["keys"], content["high_res"], threshold)


def advcam(path, size, threshold):
    """AdvCAM raises the tensor itself, and calls .cuda() on what comes out."""
    raised = np.power(load(path)["cam"], 1.5)
    assert torch.is_tensor(raised)
    return irn(path, size, threshold)


def amn(path, size, threshold):
    """AMN, second stage: channel 0 is left out, the threshold takes its place."""
    content = load(path)
    if "high_res" not in content:
        assert set(content) == {"keys"}
        return np.zeros(size, dtype=np.int64)
    assert set(content) == {"keys", "cam", "high_res"}
    height, width = size
    count = len(content["keys"])
    cam, high_res = content["cam"], content["high_res"]
    assert torch.is_tensor(np.power(cam, 1.3)[1:, ...])
    assert tuple(cam.shape) == (count + 1, (height - 1) // 4 + 1, (width - 1) // 4 + 1)
    assert isinstance(high_res, np.ndarray)
    assert high_res.shape == (count + 1, height, width)
    np.testing.assert_allclose(high_res[0], 1 - high_res[1:].max(axis=0), atol=1e-6)
    return padded(content["keys"], high_res[1:, ...], threshold)


def by_class(path, size, threshold):
    """PSA, SEAM, EDAM, MCTformer: the channel of class k is k+1 of all of them."""
    content = load(path)
    every = np.zeros((21, *size), np.float32)
    for key, value in content.items():
        assert type(key) is int
        assert value.dtype == np.float32
        assert value.shape == tuple(size)
        every[key + 1] = value
    every[0] = threshold
    return np.argmax(every, axis=0)


def clip_es(path, size, threshold):
    content = load(path)
    assert set(content) == {"keys", "attn_highres"}
    assert isinstance(content["keys"], np.ndarray)
    assert content["attn_highres"].dtype == np.float16
    assert content["attn_highres"].shape == (len(content["keys"]), *size)
    return padded(content["keys"], content["attn_highres"].astype(np.float32), threshold)


def sipe(path, size, threshold):
    """No threshold: the background is a channel of the file, of which the reader takes half."""
    content = load(path)
    assert set(content) == {"keys", "IS_CAM"}
    keys, maps = content["keys"], content["IS_CAM"].copy()
    assert isinstance(keys, np.ndarray)
    assert keys[0] == 0, "the background comes first, classes count from 1"
    assert maps.dtype == np.float32
    assert maps.shape == (len(keys), *size)
    maps[0] *= 0.5
    return keys[np.argmax(maps, axis=0)]


def padded(keys, maps, threshold):
    """Pad the keys and the maps for the background, argmax, look up."""
    maps = np.pad(maps, ((1, 0), (0, 0), (0, 0)), mode="constant", constant_values=threshold)
    keys = np.pad(keys + 1, (1, 0), mode="constant")
    return keys[np.argmax(maps, axis=0)]


READERS = {
    "irn": irn,
    "lpcam": irn,
    "recam": irn,
    "advcam": advcam,
    "amn": amn,
    "psa": by_class,
    "seam": by_class,
    "edam": by_class,
    "mctformer": by_class,
    "clip-es": clip_es,
    "sipe": sipe,
}
SIPE_THRESHOLD = 1 / 3
"""Half of 1 - m is below m where m is above a third."""
