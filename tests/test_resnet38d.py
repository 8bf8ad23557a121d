"""The ResNet-38d of PSA, SEAM and EDAM: shapes and strides by hand, checkpoints of all three, equal features."""

import pytest
import torch
import torch.nn.functional as F

from lpcam.backbones import load_classifier
from lpcam.backbones.dense import output_shape
from lpcam.backbones.resnet38d import build, canonical_name, class_matrix
from lpcam.errors import LpcamError

BY_HAND = (  # last unit, channels, output stride
    ("conv1a", 64, 1),
    ("b2_2", 128, 2),
    ("b3_2", 256, 4),
    ("b4_5", 512, 8),
    ("b5_2", 1024, 8),
    ("b6", 2048, 8),
    ("b7", 4096, 8),
    ("relu7", 4096, 8),
)
DILATION = {"b5": (1, 2), "b5_1": (2, 2), "b5_2": (2, 2)}


@pytest.fixture(scope="module")
def state():
    """A state dict with PSA's names, cheap random numbers that neither explode nor vanish, and its heads."""
    with torch.device("meta"):
        empty = build("resnet38d").network.state_dict()
    generator = torch.Generator().manual_seed(3)
    filled = {}
    for name, tensor in empty.items():
        if tensor.ndim == 4:
            bound = (3 / tensor[0].numel()) ** 0.5
            filled[name] = torch.empty(tensor.shape).uniform_(-bound, bound, generator=generator)
        elif name.endswith("num_batches_tracked"):
            filled[name] = torch.zeros((), dtype=torch.long)
        else:
            filled[name] = torch.empty(tensor.shape).uniform_(0.5, 1.0, generator=generator)
    return filled


def head(rows: int, side: int) -> torch.Tensor:
    return torch.randn(rows, 4096, side, side, generator=torch.Generator().manual_seed(4))


def test_shapes_and_strides_by_hand():
    with torch.device("meta"):
        network = build("resnet38d").network
    children = dict(network.named_children())
    names = list(children)
    for last, channels, stride in BY_HAND:
        assert output_shape([children[name] for name in names[: names.index(last) + 1]]) == (channels, stride)
    convolutions = sum(parameter.numel() for parameter in network.parameters() if parameter.ndim == 4)
    assert convolutions == 9 * (3 * 64) + unit(64, 128, 128, 3) + unit(128, 256, 256, 3) + unit(256, 512, 512, 6) + (
        unit(512, 512, 1024, 3) + (1024 * 512 + 9 * 512 * 1024 + 1024 * 2048 + 1024 * 2048)
    ) + (2048 * 1024 + 9 * 1024 * 2048 + 2048 * 4096 + 2048 * 4096)
    for name, dilations in DILATION.items():
        unit_ = children[name]
        assert (unit_.conv_branch2a.dilation[0], unit_.conv_branch2b1.dilation[0]) == dilations
    assert children["b6"].conv_branch2b1.dilation == children["b7"].conv_branch2b1.dilation == (4, 4)


def unit(inputs: int, inside: int, outputs: int, count: int) -> int:
    """Weights of the convolutions of ``count`` units; the first has a 1×1 shortcut."""
    first = 9 * inputs * inside + 9 * inside * outputs + inputs * outputs
    return first + (count - 1) * (9 * outputs * inside + 9 * inside * outputs)


def transcribed(state: dict[str, torch.Tensor], grid: torch.Tensor) -> torch.Tensor:
    """The network as a list of functions of its state dict."""

    def active(name: str, grid: torch.Tensor) -> torch.Tensor:
        values = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.relu(F.batch_norm(grid, *values))

    def conv(name: str, grid: torch.Tensor, stride: int = 1, dilation: int = 1) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(grid, weight, None, stride, dilation * (weight.shape[2] // 2), dilation)

    grid = conv("conv1a", grid)
    for block, count, stride in (("b2", 3, 2), ("b3", 3, 2), ("b4", 6, 2), ("b5", 3, 1)):
        for index in range(count):
            name = block if index == 0 else f"{block}_{index}"
            first, second = DILATION.get(name, (1, 1))
            step = stride if index == 0 else 1
            before = active(f"{name}.bn_branch2a", grid)
            inside = conv(f"{name}.conv_branch2a", before, step, first)
            branch = conv(f"{name}.conv_branch2b1", active(f"{name}.bn_branch2b1", inside), 1, second)
            grid = branch + (conv(f"{name}.conv_branch1", before, step) if index == 0 else grid)
    for name in ("b6", "b7"):
        before = active(f"{name}.bn_branch2a", grid)
        inside = conv(f"{name}.conv_branch2a", before)
        inside = conv(f"{name}.conv_branch2b1", active(f"{name}.bn_branch2b1", inside), 1, 4)
        branch = conv(f"{name}.conv_branch2b2", active(f"{name}.bn_branch2b2", inside))
        grid = branch + conv(f"{name}.conv_branch1", before)
    return active("bn7", grid)


@pytest.fixture
def load(state, monkeypatch):
    """Load the trunk with other keys beside it; 400 MB stay off the disk, names and prefixes do not."""

    def loaded(extra: dict[str, torch.Tensor], **options):
        content = {f"module.{name}": tensor for name, tensor in {**state, **extra}.items()}
        monkeypatch.setattr("lpcam.backbones.checkpoints.read_checkpoint", lambda _path: content)
        return load_classifier("resnet38d", "res38.pth", **options)

    return loaded


@torch.no_grad()
def test_a_psa_checkpoint_gives_its_features_and_logits(load, state):
    fc8 = head(20, 1)
    model = load({"fc8.weight": fc8}, num_classes=20)
    assert (model.stride, model.channels, model.num_classes, model.layer) == (8, 4096, 20, "relu7")
    assert model.mean == (0.485, 0.456, 0.406)
    photo = torch.randn(1, 3, 41, 33, generator=torch.Generator().manual_seed(1))
    features = model.features(photo)
    assert features.shape == (1, 4096, 6, 5)
    expected = transcribed(state, photo)
    assert expected.std() > 1e-2
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    logit = F.conv2d(F.adaptive_avg_pool2d(expected, 1), fc8).flatten()
    torch.testing.assert_close(features.mean((2, 3))[0] @ model.class_weights.T, logit, rtol=1e-4, atol=1e-3)


def test_a_seam_checkpoint(load):
    further = {"f8_3.weight": torch.zeros(64, 512, 1, 1), "f9.weight": torch.zeros(192, 195, 1, 1)}
    fc9 = head(21, 1)
    model = load({"fc9.weight": fc9, **further}, num_classes=20)
    assert torch.equal(model.class_weights, fc9[1:, :, 0, 0])
    assert load({"fc9.weight": fc9}, num_classes=21).num_classes == 21


def test_an_edam_checkpoint(load):
    mask = head(21, 3)
    model = load({"mask_layer.weight": mask, "mask_layer.bias": torch.zeros(21)}, num_classes=20)
    assert model.num_classes == 20
    constant = F.conv2d(torch.ones(1, 4096, 3, 3), mask)[0, 1:, 0, 0]
    torch.testing.assert_close(model.class_weights.sum(1), constant, rtol=1e-3, atol=1e-3)


def test_a_checkpoint_without_a_head_names_it(load):
    with pytest.raises(LpcamError, match=r"no class weights 'fc8.weight': give them with --head FILE"):
        load({})


def test_what_stands_for_w_by_hand():
    kernel = torch.arange(18.0).view(2, 1, 3, 3)
    assert class_matrix(kernel, None).tolist() == [[sum(range(9, 18))]]
    assert class_matrix(torch.ones(3, 2, 1, 1), 2).tolist() == [[1, 1], [1, 1]]
    assert class_matrix(torch.ones(3, 2), 3).shape == (3, 2)
    assert class_matrix(torch.ones(3, 2, 1, 1), None).shape == (3, 2)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("b2.conv_branch2a.weight", "b2.conv_branch2a.weight"),
        ("b6.bn_branch2b2.running_var", "b6.bn_branch2b2.running_var"),
        ("bn7.bias", "bn7.bias"),
        ("fc8.weight", "fc8.weight"),
        ("fc8.bias", None),
        ("conv_mask.weight", "mask.weight"),
        ("conv_mask.bias", None),
        ("f8_3.weight", None),
        ("linear1000.weight", None),
    ],
)
def test_keys(key, name):
    assert canonical_name(key) == name
