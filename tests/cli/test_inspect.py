"""``lpcam inspect``: what it prints, as text and as JSON, and pictures only where a terminal shows them."""

from __future__ import annotations

import base64
import io
import json
import re

import pytest
from click.testing import CliRunner
from lpcam_cli import pictures
from lpcam_cli.main import main
from PIL import Image

from lpcam import corridor
from lpcam.profiles import get_profile
from lpcam.workspace import Workspace


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def workspace(tmp_path, data, classifier) -> Workspace:
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, data, classifier, scales=(1.0,))
    corridor.cluster(workspace, profile=get_profile("voc", k=3))
    return workspace


def lpcam(*arguments: object):
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


def test_text_and_json_say_the_same(workspace):
    text, found = lpcam(workspace.root).stdout, json.loads(lpcam(workspace.root, "--json").stdout)
    assert text.startswith(f"workspace: {workspace.root}")
    for row in found["rows"]:
        assert re.search(rf"{row['stage']} +{row['state']} +{re.escape(row['what'])}", text)
    assert f"next: {found['next_steps'][0]}" in text


def test_a_photo_is_drawn_and_told(workspace, voc_root, tmp_path):
    photo = voc_root / "JPEGImages/2007_000002.jpg"
    result = lpcam(photo, "-w", workspace.root, "--method", "cam,lpcam", "--threshold", 0.5, "-o", tmp_path / "o.png")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"done: photo, maps and seed: {tmp_path / 'o.png'}"
    assert "\033" not in result.stdout, "no picture in a pipe"
    assert Image.open(tmp_path / "o.png").width > 320 * 5
    found = json.loads(lpcam(photo, "-w", workspace.root, "--json").stdout)
    assert found["overlay"] == str(workspace.root / "inspection/2007_000002.png")
    assert [row["class"] for row in found["rows"]] == ["sheep", "train"]


def test_options_of_photos_are_refused_for_other_things(workspace):
    result = lpcam(workspace.root, "--class", "sheep")
    assert result.exit_code == 1
    assert "--class is for photos" in result.stderr


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1", "COLORTERM": "truecolor"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm"),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "iTerm.app", "COLORTERM": "truecolor"}, "blocks"),
        ({"TERM": "xterm-256color", "TMUX": "x,1,0", "KITTY_WINDOW_ID": "1", "COLORTERM": "24bit"}, "blocks"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, None),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "dumb", "KITTY_WINDOW_ID": "1"}, None),
        ({"KITTY_WINDOW_ID": "1"}, None),
    ],
)
def test_what_a_terminal_can_show(environment, protocol):
    assert pictures.protocol_of(Terminal(), environment) == protocol
    assert pictures.protocol_of(io.StringIO(), environment) is None


def test_the_codes_hold_the_picture(tmp_path, monkeypatch, capsys):
    path = tmp_path / "p.png"
    Image.effect_noise((60, 40), 80).convert("RGB").save(path)
    (kitty,), (iterm,) = pictures._kitty(path), pictures._iterm(path)
    chunks = re.findall(r"\033_G(.*?);(.*?)\033\\", kitty)
    assert [control for control, _ in chunks] == ["a=T,f=100,m=1"] * 1 + ["m=1"] * (len(chunks) - 2) + ["m=0"]
    assert all(len(data) <= 4096 for _, data in chunks)
    assert base64.b64decode("".join(data for _, data in chunks)) == path.read_bytes()
    assert base64.b64decode(re.fullmatch(r"\033]1337;File=.*:(.*)\a", iterm)[1]) == path.read_bytes()


def test_blocks_have_two_pixels_a_character(tmp_path, monkeypatch):
    picture = Image.new("RGB", (4, 4), (255, 0, 0))
    picture.paste((0, 0, 255), (0, 1, 4, 2))
    picture.save(tmp_path / "p.png")
    monkeypatch.setenv("COLUMNS", "80")
    lines = list(pictures._blocks(tmp_path / "p.png"))
    assert len(lines) == 2
    assert lines[0] == "\033[38;2;255;0;0;48;2;0;0;255m▀" * 4 + "\033[0m"
