"""The tables of docs/refiners.md, made by asking the code. Run ``python -m tests.refiners.table`` to write them."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lpcam.refiners import REFINERS, get_refiner
from lpcam.refiners.next_step import Origin
from tests.refiners.readers import load
from tests.refiners.samples import make_maps

PAGE = Path(__file__).parents[2] / "docs" / "refiners.md"
_LABELS, _SIZE = (4, 7), (9, 14)
_LETTERS = {2: "K", 3: "K+1", 9: "H", 14: "W"}
_STRIDED = (3, 4)


def files() -> str:
    """Return what each family's file holds, found by writing one and loading it as readers do."""
    rows = ["| `--refiner` | repository reads | file holds | background | without classes |", "|---|---|---|---|---|"]
    for name in REFINERS:
        refiner, step = get_refiner(name), get_refiner(name).next_step(Origin())
        reads = step.reads if step else ""
        place = f"`{reads}`" if reads.startswith("{") or reads.endswith(".npy") else "`{out_cam}/{name}.npy`"
        rows.append(f"| `{name}` | {place} | {_held(name, _LABELS)} | {refiner.background} | {_held(name, ())} |")
    return "\n".join(rows)


def parts() -> str:
    """Return what lies beside the seeds."""
    rows = ["| `--refiner` | option | beside the seeds | with |", "|---|---|---|---|"]
    for name in REFINERS:
        refiner = get_refiner(name)
        for option, made in (
            ("--crf", refiner.crf_parts(Origin())),
            ("--saliency", refiner.saliency_parts(Path("DIR"))),
        ):
            for part in made:
                settings = {key: value for key, value in part.settings.items() if key != "saliency"}
                rows.append(
                    f"| `{name}` | `{option}` | `{part.folder}/{{name}}{part.suffix}` | {_settings(settings)} |"
                )
    return "\n".join(rows)


def thresholds() -> str:
    """Return the settings of the next step."""
    rows = ["| `--refiner` | for maps of LPCAM | for maps of CAM |", "|---|---|---|"]
    for name in REFINERS:
        refiner = get_refiner(name)
        dense, plain, coco = (
            _joined(refiner.next_step(Origin(method, dataset)))
            for method, dataset in (("lpcam", "voc"), ("cam", "voc"), ("cam", "coco"))
        )
        own = plain if plain == coco else f"VOC: {plain} · COCO: {coco}"
        rows.append(f"| `{name}` | {dense} | {'the same' if own == dense else own} |")
    return "\n".join(rows)


TABLES = {"files": files, "parts": parts, "thresholds": thresholds}


def with_tables(text: str) -> str:
    """Return the page with its tables made anew."""
    for name, make in TABLES.items():
        marks = (f"<!-- {name}:begin -->", f"<!-- {name}:end -->")
        text = re.sub(f"{marks[0]}.*?{marks[1]}", f"{marks[0]}\n{make()}\n{marks[1]}", text, flags=re.DOTALL)
    return text


def _held(name: str, labels: tuple[int, ...]) -> str:
    refiner = get_refiner(name)
    with tempfile.TemporaryDirectory() as folder:
        refiner.write(Path(folder), "a", make_maps(labels, _SIZE))
        content = load(refiner.path(Path(folder), "a"))
    by_class = all(isinstance(key, int) for key in content) and content
    if by_class:
        return f"`k` (int, 0-based): {_value(content[_LABELS[0]])}"
    shown = " · ".join(f"`{key}` {_value(value)}{_first_key(key, value)}" for key, value in content.items())
    size = " (no size)" if not labels and not refiner.keeps_size else ""
    return (shown or "nothing") + size


def _value(value: Any) -> str:
    library = type(value).__module__.split(".")[0]
    return f"{str(value.dtype).removeprefix('torch.')} {library} {_shape(tuple(value.shape))}"


def _shape(shape: tuple[int, ...]) -> str:
    if shape[-2:] == _STRIDED:
        return f"[{_letters(shape[:-2])}, (H−1)//4+1, (W−1)//4+1]"
    return f"[{_letters(shape)}]"


def _letters(shape: tuple[int, ...]) -> str:
    return ", ".join(_LETTERS.get(side, str(side)) for side in shape)


def _first_key(key: str, value: Any) -> str:
    if key != "keys" or len(value) == 0:
        return ""
    first = np.asarray(value).tolist()
    return " 0-based" if first == list(_LABELS) else f" {'0, then 1-based' if first[0] == 0 else ''}".rstrip()


def _settings(settings: dict[str, Any]) -> str:
    crf = settings.pop("crf", None)
    words = [f"{key} {value:g}" for key, value in settings.items()]
    if crf:
        smooth = f"{crf['gaussian_sxy']:g}/{crf['gaussian_compat']:g}"
        edges = "/".join(f"{crf[key]:g}" for key in ("bilateral_sxy", "bilateral_srgb", "bilateral_compat"))
        words.append(f"CRF {smooth}, {edges}, t {crf['steps']}")
    return ", ".join(words)


def _joined(step: Any) -> str:
    return "; ".join(step.settings) if step else ""


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
