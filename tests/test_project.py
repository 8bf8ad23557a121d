"""The project: what a wheel installs, and how long the doorway takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_wheel_installs_lpcam_and_lpcam_cli_and_no_cli(tmp_path):
    source = tmp_path / "source"
    for name in ("lpcam", "cli"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(tmp_path))
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lpcam", "lpcam_cli"}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lpcam").rglob("*.py")}
    commands = {
        "lpcam_cli" + path.as_posix().removeprefix((ROOT / "cli").as_posix()) for path in (ROOT / "cli").rglob("*.py")
    }
    template = {f"lpcam/report/template/page.{suffix}" for suffix in ("html.j2", "css", "js")}
    assert modules | commands | template | {"lpcam/py.typed"} <= set(names)


def test_help_is_quick():
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "lpcam_cli", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.5, "0.3 s on an idle machine, see benchmarks/results/startup.json"
