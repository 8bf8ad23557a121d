"""corridor: the seeds of IS-CAM, PACAM and Fisher, from photo to file, against the slow transcriptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from lpcam import corridor
from lpcam.backbones.classifier import Classifier
from lpcam.corridor import MethodSettings
from lpcam.discriminants import Discriminants, FisherProfile
from lpcam.methods.pacam import Awareness
from lpcam.profiles import get_profile
from lpcam.prototypes import Prototypes
from lpcam.records import Photo
from lpcam.sources import ClassifierSource
from lpcam.support import Support, SupportProfile
from lpcam.workspace import Workspace
from tests.conftest import make_voc
from tests.reference import cpal, fisher, sipe
from tests.reference import lpcam as lpcam_reference
from tests.reference.cam import high_res
from tests.reference.one_at_a_time import read_views

SCALES = (1.0, 0.5)
TAU = 0.6
Scale = Callable[[list[np.ndarray], Sequence[int]], np.ndarray]
"""From the levels of image and mirror, [2, C, h, w] each, to the maps of some classes at that scale."""


@pytest.fixture
def classifier(checkpoint, tmp_path) -> ClassifierSource:
    """The small network with class weights of both signs, so that its maps are not flat."""
    state = torch.load(checkpoint, weights_only=True)
    weights = torch.randn(state["fc.weight"].shape, generator=torch.Generator().manual_seed(1))
    torch.save({**state, "fc.weight": weights}, tmp_path / "contrast.pth")
    return ClassifierSource("demo", tmp_path / "contrast.pth")


@pytest.fixture
def workspace(tmp_path, data, classifier) -> Workspace:
    """Features, prototypes and context of three small photos, the last of both classes."""
    make_voc(tmp_path / "data", [(32, 40), (40, 32), (32, 36)])
    made = Workspace(tmp_path / "w")
    corridor.extract_features(made, data, classifier, scales=SCALES)
    corridor.cluster(made, profile=get_profile("voc", k=3, iterations=20, class_threshold=0.5))
    corridor.cluster_support(made, profile=SupportProfile(tau=TAU))
    return made


def expected(net: Classifier, photo: Photo, scale_maps: Scale) -> np.ndarray:
    """Return the seeds of a photo, [K, H, W]."""
    views, size = read_views(net, photo, SCALES)
    scales = []
    for view in views:
        with torch.no_grad():
            levels = [level.double().numpy() for level in net.levels(view)]
        scales.append(scale_maps(levels, photo.labels))
    return np.stack([high_res([maps[k] for maps in scales], size) for k in range(len(photo.labels))])


def logits_of(net: Classifier, features: np.ndarray) -> np.ndarray:
    """Return w_k · f of both views."""
    return np.einsum("kc,vchw->vkhw", net.class_weights.double().numpy(), features)


def iscam(general: Scale, background_weight: float = 0.5) -> Scale:
    """Return IS-CAM from general maps of all classes."""

    def maps(levels: list[np.ndarray], labels: Sequence[int]) -> np.ndarray:
        both = np.stack([sipe.hierarchy([level[view] for level in levels]) for view in range(2)])
        found = sipe.infer(general(levels, labels), both, labels, background_weight)
        return found["iscam"][[1 + label for label in labels]]

    return maps


def pacam(net: Classifier, support: Support, **options: object) -> Scale:
    """Return PACAM from the context prototypes of a support."""

    def maps(levels: list[np.ndarray], labels: Sequence[int]) -> np.ndarray:
        both = (levels[-1][0] + levels[-1][1][:, :, ::-1]) / 2
        image, mirror = np.maximum(logits_of(net, levels[-1]), 0)
        cams = sipe.normalised(image + mirror[:, :, ::-1])
        contexts = [list(entry.vectors.double().numpy()) for entry in support.context]
        return np.stack([cpal.pacam(both, cams[k], contexts[k], tau=TAU, **options) for k in labels])

    return maps


def only(general: Scale) -> Scale:
    """Return general maps without those of absent classes."""

    def maps(levels: list[np.ndarray], labels: Sequence[int]) -> np.ndarray:
        found = general(levels, labels)
        found[:, [k for k in range(found.shape[1]) if k not in labels]] = 0
        return found

    return maps


def lpcam(prototypes: Prototypes) -> Scale:
    """Return LPCAM's maps of all classes, as if they were the logits of the image; those of the mirror are zero."""

    def maps(levels: list[np.ndarray], _labels: Sequence[int]) -> np.ndarray:
        both = levels[-1][0] + levels[-1][1][:, :, ::-1]
        found = np.stack(
            [
                lpcam_reference.localise(
                    both, list(entry.class_prototypes.double().numpy()), list(entry.context_prototypes.double().numpy())
                )
                for entry in prototypes.centres
            ]
        )
        return np.stack([found, np.zeros_like(found)])

    return maps


def check(
    workspace: Workspace,
    data,
    net: Classifier,
    method: str,
    settings: MethodSettings,
    maps: Scale,
    tolerance: float = 1e-4,
) -> None:
    """Hold the seeds of all photos to a transcription."""
    corridor.generate(workspace, methods=[method], settings=settings, overwrite=True)
    peaks = []
    for photo in data.open().photos:
        seeds = np.load(workspace.seeds(method, "irn") / f"{photo.name}.npy", allow_pickle=True).item()
        np.testing.assert_allclose(seeds["high_res"], expected(net, photo, maps), rtol=0, atol=tolerance)
        peaks.append(seeds["high_res"].max())
    assert max(peaks) > 0.9


def test_iscam_is_the_transcription(workspace, data, classifier):
    net = classifier.load(2, "cpu")

    def cam(levels: list[np.ndarray], _labels: Sequence[int]) -> np.ndarray:
        return logits_of(net, levels[-1])

    check(workspace, data, net, "iscam", MethodSettings(), iscam(cam))
    check(workspace, data, net, "iscam", MethodSettings(iscam_background=1.0), iscam(cam, 1.0))
    check(workspace, data, net, "iscam", MethodSettings(iscam_labels_only=True), iscam(only(cam)))
    general = lpcam(Prototypes.load(workspace.prototypes))
    check(workspace, data, net, "iscam", MethodSettings(iscam_from="lpcam"), iscam(general))


def test_pacam_is_the_transcription(workspace, data, classifier):
    net, support = classifier.load(2, "cpu"), Support.load(workspace.support)
    check(workspace, data, net, "pacam", MethodSettings(), pacam(net, support))
    awareness = Awareness(metric="cosine", top=1, alignment=False)
    options = {"metric": "cosine", "top": 1, "alignment": False}
    check(workspace, data, net, "pacam", MethodSettings(pacam=awareness), pacam(net, support, **options))


def test_fisher_is_the_transcription(workspace, data, classifier):
    corridor.cluster_discriminants(workspace, profile=FisherProfile(tau=TAU))
    net, lines = classifier.load(2, "cpu"), Discriminants.load(workspace.discriminants).lines

    def maps(levels: list[np.ndarray], labels: Sequence[int]) -> np.ndarray:
        both = levels[-1][0] + levels[-1][1][:, :, ::-1]
        vectors = lines.vectors.double().numpy()
        return np.stack([fisher.localise(both, vectors[label], float(lines.offsets[label])) for label in labels])

    # Features of these photos hardly differ, so that f̂ · v and b do in their last digits only.
    check(workspace, data, net, "fisher", MethodSettings(), maps, tolerance=1e-3)
