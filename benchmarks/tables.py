"""The README's tables, written from the committed results: ``python -m benchmarks.tables`` rewrites them in place.

A table stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``; `tests/test_readme.py` fails when it is not
what the results say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.record import RESULTS, ROOT

README = ROOT / "README.md"
_YARDSTICKS = ("real_voc_animals", "real_coco_subset")
_COSTS = ("map_stage", "kmeans_speed", "generate_speed", "memory", "startup")
_ROWS = (("CAM", "cam"), ("class prototypes only", "class-prototypes"), ("LPCAM", "lpcam"))


def real_photos() -> str:
    """Return the table of mIoU on real photos: a row a method and profile, a column a yardstick and split."""
    names = [name for name in _YARDSTICKS if (RESULTS / f"{name}.json").is_file()]
    results = [_load(name)["results"] for name in names]
    columns = [(result, split) for result in results for split in result["splits"]]
    header = ["seed mIoU, %"] + [
        f"{result['title']}, {split} ({result['splits'][split]['images']} photos)" for result, split in columns
    ]
    rows = [["CAM", *(_miou(result["splits"][split]["methods"]["cam"]) for result, split in columns)]]
    for profile in ("voc", "coco"):
        for title, method in _ROWS[1:]:
            cells = [_miou(result["splits"][split]["methods"][f"{method} {profile}"]) for result, split in columns]
            rows.append([f"{title}, `{profile}` profile", *cells])
    return markdown(header, rows)


def checks() -> str:
    """Return the table of what the benchmarks measured against their targets."""
    names = [name for name in _COSTS if (RESULTS / f"{name}.json").is_file()]
    rows = [
        [f"`{name}`", check["name"], f"{check['value']:.4g}", f"{check['relation']} {check['limit']:g}"]
        for name in names
        for check in _load(name)["checks"]
    ]
    return markdown(["benchmark", "what", "measured", "target"], rows)


_PLACE = re.compile(r"(<!-- ([\w-]+):begin -->\n).*?(<!-- \2:end -->)", re.DOTALL)
TABLES: dict[str, Callable[[], str]] = {"real-photos": real_photos, "checks": checks}


def with_tables(text: str, tables: Mapping[str, Callable[[], str]] = TABLES) -> str:
    """Return a text with every table replaced by what the results say."""
    return _PLACE.sub(lambda place: f"{place[1]}{tables[place[2]]()}\n{place[3]}", text)


def _load(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return value


def _miou(found: dict[str, Any]) -> str:
    spread = f" ± {100 * found['miou_std']:.1f}" if len(found["runs"]) > 1 else ""
    return f"{100 * found['miou']:.1f}{spread}"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
