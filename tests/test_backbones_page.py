"""docs/backbones.md: its table is what the code says, and every row names a test that exists."""

import ast
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lpcam import ClassifierSource, Workspace, corridor
from lpcam.backbones import ARCHITECTURES, loading
from lpcam.backbones.families import FAMILIES, rows
from tests.docs.diffs import added

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/backbones.md"
START, END = "<!-- families -->\n", "<!-- /families -->\n"
HEADER = ("`--arch`", "checkpoints of", "keys", "w", "C", "stride", "test")

_OF_IRN = "test_backbones.py::test_a_checkpoint_of"
TESTS = {  # (arch, origin): the test that backs the row
    **{("resnet50", origin): _OF_IRN for origin in ("IRN", "LPCAM", "ReCAM", "AdvCAM", "AMN stage 1", "SIPE")},
    ("resnet50", "AMN stage 2"): "test_backbones.py::test_amn_stage_2_needs_a_head_of_its_own",
    ("resnet38d", "PSA"): "test_resnet38d.py::test_a_psa_checkpoint_gives_its_features_and_logits",
    ("resnet38d", "SEAM"): "test_resnet38d.py::test_a_seam_checkpoint",
    ("resnet38d", "EDAM"): "test_resnet38d.py::test_an_edam_checkpoint",
    ("mctformer", "MCTformer V2"): "test_mctformer.py::test_features_are_the_patch_tokens",
    ("torchvision/NAME", "pooled last"): "test_backbones.py::test_mean_of_the_map_is_the_networks_logit",
    ("torchvision/NAME", "MobileNet V3, ConvNeXt, VGG"): (
        "test_backbones.py::test_a_map_of_one_position_gives_the_networks_logit"
    ),
    ("torchvision/NAME", "Swin, Swin V2"): "test_backbones.py::test_mean_of_the_map_is_the_networks_logit",
    ("torchvision/NAME", "ViT"): "test_backbones.py::test_features_of_a_vit_are_its_patch_tokens_at_their_places",
    ("timm/NAME", "pooled last"): "test_timm_nets.py::test_mean_of_the_map_is_the_networks_logit",
    ("timm/NAME", "ConvNeXt, MobileNet V3"): ("test_timm_nets.py::test_a_map_of_one_position_gives_the_networks_logit"),
    ("timm/NAME", "Swin"): "test_timm_nets.py::test_mean_of_the_map_is_the_networks_logit",
    ("timm/NAME", "ViT"): "test_timm_nets.py::test_features_of_a_vit_are_its_patch_tokens_at_their_places",
    ("timm/NAME", "attention pooling, hidden layers"): (
        "test_timm_nets.py::test_a_head_that_is_no_matrix_is_refused_and_replaced_by_a_file"
    ),
    ("timm/NAME", "CLIP image towers"): (
        "test_timm_nets.py::test_text_embeddings_are_compared_where_clip_compares_them"
    ),
    ("demo", "lpcam demo"): "training/test_demo_classifier.py::test_it_learns_what_the_labels_say",
}


def table() -> str:
    lines = [HEADER, ("---",) * len(HEADER)]
    for family, row in zip(FAMILIES, rows(), strict=True):
        lines.append((*row, f"`{TESTS[family.arch, family.origin]}`"))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def test_the_table_is_what_the_code_says():
    """To write it anew: python -c 'from tests.test_backbones_page import write; write()'."""
    pytest.importorskip("timm", reason="needs the timm extra")
    text = PAGE.read_text(encoding="utf-8")
    assert text.partition(START)[2].partition(END)[0] == table()


def write() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(before + START + table() + END + rest.partition(END)[2], encoding="utf-8")


def test_every_row_names_a_test_that_exists():
    assert {(family.arch, family.origin) for family in FAMILIES} == set(TESTS)
    for test in TESTS.values():
        file, _, name = test.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


def test_every_architecture_has_a_row():
    assert {family.arch for family in FAMILIES} == set(ARCHITECTURES)


def test_the_backbone_of_the_contributing_page_goes_the_whole_way(tmp_path, data, monkeypatch):
    block = added("lpcam/backbones/toynet.py")
    ((name, place),) = re.findall(r'^ +"(toynet)": "(.*)",$', added("lpcam/backbones/loading.py"), re.MULTILINE)
    module = ModuleType(place)
    exec(compile(block, "toynet.py", "exec"), module.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, place, module)
    monkeypatch.setitem(loading._BUILDERS, name, place)
    torch.manual_seed(0)
    state = module.Toynet().state_dict()
    state["fc.weight"] = torch.rand(2, 16) - 0.3
    torch.save(state, tmp_path / "toynet.pth")
    workspace = Workspace(tmp_path / "w")
    report = corridor.run(workspace, data, ClassifierSource(name, tmp_path / "toynet.pth"), scales=(1.0, 0.5))
    assert report.generated.images == 6
    assert report.evaluated[0].curve.images == 6
