"""The page about a run: whole, self-contained, of bounded size, and true."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from lpcam_cli.main import main

from lpcam.demo import DemoResult
from lpcam.errors import LpcamError
from lpcam.report.page import Page, render
from lpcam.report.whole import write_report
from lpcam.sources import DataSource
from lpcam.workspace import Workspace
from tests.report.conftest import PHOTOS


class Checker(HTMLParser):
    """Collects what would leave the page, and whether tags are closed."""

    void = frozenset({"meta", "img", "br", "input"})

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in {"href", "src", "srcset", "action"}]

    def handle_startendtag(self, tag, attrs):
        """Leave what closes itself."""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def data_of(page: Path) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL).group(1))


@pytest.fixture
def workspace(demo: DemoResult, tmp_path: Path) -> Workspace:
    """A copy of the demo's run that a test may break."""
    shutil.copytree(demo.workspace, tmp_path / "w")
    return Workspace(tmp_path / "w")


def test_the_page_is_whole_html_that_loads_nothing(demo):
    html = demo.page.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert set(checker.links) == {"#summary", "#gallery", "#prototypes"}
    assert "default-src 'none'" in html
    assert not re.search(r"https?://", html.replace("http://www.w3.org", ""))


def test_the_summary_says_what_evaluate_says(demo):
    html = demo.page.read_text(encoding="utf-8")
    for row in demo.rows:
        line = re.search(rf'<th scope="row">{row.title}</th>(.*?)</tr>', html, re.DOTALL).group(1)
        for number in (f"{100 * row.miou:.1f}", f"{100 * row.recall:.1f}", f"{row.threshold:.2f}"):
            assert f">{number}</td>" in line.replace("</span>", ">")
    for name, value in demo.rows[0].per_class.items():
        if value is not None:
            assert re.search(rf'<th scope="row">{name}</th><td>.*?{100 * value:.1f}</td>', html)


def test_what_is_doubtful_is_said(workspace, demo):
    (workspace.seeds("cam", "irn") / "train_0003.npy").unlink()
    lines = '{"stage": "generate", "name": "train_0003", "reason": "a <broken> photo"}\n'
    workspace.failures.write_text(lines)
    result = write_report(workspace)
    assert "generate failed on train_0003: a <broken> photo" in result.notices
    assert f"CAM: 1 of {PHOTOS} photos have no seed" in result.notices
    html = result.page.read_text(encoding="utf-8")
    assert "a &lt;broken&gt; photo" in html
    assert ("the one of the highest z was taken" in html) == any(
        counts["fallback"] for counts in demo.prototypes.values()
    )


def test_all_photos_all_methods_and_all_prototypes_are_there(demo):
    data = data_of(demo.page)
    assert [method["title"] for method in data["methods"]] == ["CAM", "class prototypes only", "LPCAM", "LPCAM, PAMR"]
    assert len(data["photos"]) == PHOTOS
    for entry in data["prototypes"]:
        counts = demo.prototypes[entry["name"]]
        assert sum(sight["object"] for sight in entry["sights"]) == counts["class_prototypes"]
        assert sum(not sight["object"] for sight in entry["sights"]) == counts["context_prototypes"]


def test_the_page_keeps_its_size(workspace, monkeypatch):
    monkeypatch.setattr("lpcam.report.whole._MILLION", 600_000)
    roomy = write_report(workspace)
    tight = write_report(workspace, megabytes=1)
    assert tight.size < 600_000 < roomy.size
    assert tight.shown == roomy.shown == PHOTOS
    assert tight.notices == roomy.notices


def test_a_page_that_cannot_be_small_enough_says_so(workspace, monkeypatch):
    monkeypatch.setattr("lpcam.report.whole._MILLION", 10_000)
    assert "show fewer photos with --photos" in write_report(workspace, megabytes=1).notices[-1]


def test_features_that_were_not_kept_leave_the_prototypes_out(workspace, demo):
    shutil.rmtree(workspace.features)
    result = write_report(workspace, data=DataSource("demo", demo.data, "train"))
    assert any(line.startswith("the prototypes are not shown: ") for line in result.notices)
    assert 'href="#prototypes"' not in result.page.read_text(encoding="utf-8")


def test_names_cannot_leave_their_place():
    hostile = "</script><script>alert(1)</script>&amp;"
    page = Page(
        hostile, (hostile,), ((hostile, hostile),), (hostile,), (), None, "", "", (), "", {"classes": [hostile]}, ()
    )
    html = render(page)
    assert html.count("<script") == 2
    assert "alert(1)</script>" not in html
    assert json.loads(re.search(r'id="data">(.*?)</script>', html).group(1))["classes"] == [hostile]


def test_the_command_says_where_the_page_is(workspace):
    result = CliRunner().invoke(main, ["report", "-w", str(workspace.root), "--photos", "5"])
    assert result.exit_code == 0, result.output
    assert f"done: page of 5 of {PHOTOS} photos and 3 methods" in result.output
    assert str(workspace.root / "report/index.html") in result.output
    found = CliRunner().invoke(main, ["report", "-w", str(workspace.root), "--photos", "5", "--json"])
    assert json.loads(found.stdout)["shown"] == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--photos", "0"], "choose 1 or more"),
        (["--seeds", "folder"], "write --seeds 'TITLE=FOLDER'"),
        (["--seeds", "a=nowhere"], "no folder of seeds"),
        (["--split", "nothing"], "nothing"),
        (["--refiner", "ir"], "irn"),
    ],
)
def test_mistakes_are_one_line(workspace, arguments, said):
    result = CliRunner().invoke(main, ["report", "-w", str(workspace.root), *arguments])
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1 or "score" in result.stderr


def test_an_empty_workspace_names_the_next_command(tmp_path):
    with pytest.raises(LpcamError, match="lpcam generate -w"):
        write_report(Workspace(tmp_path))
