"""Training a classifier on image-level labels, the only supervision of the whole corridor: ``lpcam train-classifier``.

The recipe is IRN's (Ahn & Kwak, CVPR 2019), which the LPCAM paper keeps: multi-label soft margin on global average
pooling, SGD whose rate falls as a polynomial, ten times the rate for the new head, crops of 512 px with zeros around a
photo that is smaller, five epochs.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from lpcam.records import Progress, silent
from lpcam.sources import DataSource
from lpcam.training.learner import Learner
from lpcam.training.loop import train
from lpcam.training.recipe import Recipe
from lpcam.training.run import TrainingReport


def train_classifier(
    data: DataSource,
    arch: str,
    out: Path,
    *,
    weights: str | Path | None = "imagenet",
    stride: int | None = None,
    keep_head: bool = False,
    recipe: Recipe = Recipe(),
    val_split: str | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress = silent,
) -> TrainingReport:
    """Train a classifier of a data set's classes, from pretrained weights or from scratch.

    Logit of class k: w_k · mean_{h,w} f(x), without a bias, as CAM and LPCAM use the class weights. Started from
    pretrained weights, batch norm keeps their running statistics (its scales and biases learn); from scratch it
    learns its own. Photos without any label are seen too. No mask is read.

    After every epoch, and every ten minutes within one, the state of the training is written beside ``out``; the same
    call goes on from it, to the same bytes as if it had not been interrupted (same machine, same number of threads,
    on a CPU; ``workers`` change nothing). Beside a classifier that is finished, ``OUT.json`` says how it was made,
    ``OUT.log.jsonl`` what every step was like, and ``OUT.png`` shows it.

    Under torchrun every process takes its part of each batch; the result is that of one process to rounding, but for
    what a network draws itself, such as dropout. Only the first process writes, and all read the same disk.

    Args:
        data: Photos and image-level labels.
        arch: Any architecture of `lpcam.backbones`.
        out: The checkpoint to be written, ``.pth`` or ``.pt``; `lpcam.backbones.load_classifier` reads it.
        weights: A checkpoint file with or without a head, ``imagenet``, or None to train from scratch.
        stride: Output stride in training; by default the architecture's, which is that of later stages.
        keep_head: Go on from the class weights of the checkpoint, at the rate of the backbone, where there are some for
            the same number of classes; a notice of the report then says so.
        recipe: Hyper-parameters.
        val_split: A split of the same data set that is measured after every epoch: mAP, and where it has masks
            the mIoU of CAM seeds at scale 1.
        seed: Of the head's (and, from scratch, all) first weights, the order of the photos, their crops, dropout.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        workers: Threads that read photos ahead.
        overwrite: Begin anew, whatever is there.
        progress: Told after every step, stages ``train``, ``validate`` and ``validate-seeds``.

    Raises:
        LpcamError: there are no labels, fewer photos than a batch, a photo that cannot be read, a file of another
            run, an option that cannot be used, or a loss that is not finite.
    """
    return train(
        PooledClassifier,
        data,
        arch,
        out,
        weights=weights,
        stride=stride,
        recipe=recipe,
        val_split=val_split,
        seed=seed,
        device=device,
        workers=workers,
        overwrite=overwrite,
        progress=progress,
        system={"system": "classifier"} if keep_head else None,
    )


class PooledClassifier(Learner):
    """A classifier and nothing else: the multi-label soft margin loss of its logits."""

    loss_names = ("classification",)

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the loss of a batch, see `Learner.losses`."""
        return {"classification": F.multilabel_soft_margin_loss(self.logits(images), targets)}
