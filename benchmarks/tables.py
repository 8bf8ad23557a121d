"""The tables of the pages, written from the committed results: ``python -m benchmarks.tables`` rewrites them in place.

A table stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``; `tests/test_readme.py` fails when it is not
what the results say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.localisation import VARIANTS
from benchmarks.record import RESULTS, ROOT

README = ROOT / "README.md"
PERFORMANCE = ROOT / "docs" / "performance.md"
METHODOLOGY = ROOT / "benchmarks" / "README.md"
TRAINING = ROOT / "docs" / "training.md"
METHODS = ROOT / "docs" / "methods.md"
ABLATION = ROOT / "docs" / "ablation.md"
PROPAGATION = ROOT / "docs" / "propagation.md"
REPORT = ROOT / "docs" / "report.md"
RESULTS_PAGE = ROOT / "docs" / "results.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
CHOOSING = ROOT / "docs" / "howto" / "choosing.md"
PAGES = (
    README,
    PERFORMANCE,
    METHODOLOGY,
    TRAINING,
    METHODS,
    ABLATION,
    PROPAGATION,
    REPORT,
    RESULTS_PAGE,
    TUTORIAL,
    CHOOSING,
)
MAKE_BENCH = ("startup", "map_stage", "propagation", "kmeans_speed", "generate_speed", "memory", "peers", "cost")
"""What ``make bench`` runs, in its order."""
_NETWORKS = {"start": "the start", "classifier": "classifier trained on", "sipe": "SIPE", "cpal": "CPAL"}
_YARDSTICKS = ("real_voc_animals", "real_coco_subset")
_BY_HAND = ("generate_dozen", "generate_dozen_bfloat16", "precision", "report", "many")
"""Measured apart from ``make bench``, because they take longer or need real photos."""
_DOZENS = {"generate_dozen": "", "generate_dozen_bfloat16": ", another processor, with bfloat16 units"}
_GIVEN = "given classifier"
_SHOWN = (("cam", "CAM"), ("lpcam", "LPCAM, `voc` profile"), ("lpcam-coco", "LPCAM, `coco` profile"))
_AFTER = (("", ""), ("walk", ", walk"), ("walk-pamr", ", walk and PAMR"))
_NO_TUTORIAL = "Not measured yet: `python -m benchmarks.tutorial`."
_SWITCHES = ("cam", "lpcam", "lpcam-coco", "restarts", "relative-threshold", "weigh-sizes", "adaptive-k")
_KINDS, _KIND_TITLES = ("class_prototypes", "context_prototypes"), ("class prototypes", "context prototypes")
_PROFILES = ("voc", "coco")
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
    for profile in _PROFILES:
        for title, method in _ROWS[1:]:
            cells = [_miou(result["splits"][split]["methods"][f"{method} {profile}"]) for result, split in columns]
            rows.append([f"{title}, `{profile}` profile", *cells])
    return markdown(header, rows)


def second_backbone() -> str:
    """Return the table of mIoU on real photos of the classifier that `lpcam train-classifier` trained."""
    rows, header = [], ["seed mIoU, %"]
    for path in sorted(RESULTS.glob("second_backbone*.json")):
        record = _load(path.stem)
        scales = ", ".join(f"{scale:g}" for scale in record["settings"]["photos"]["scales"])
        for split, found in record["results"]["splits"].items():
            learnt = "class weights" if "l2" in record["settings"]["recipe"] else "network"
            header.append(f"{learnt} trained, {split} ({found['images']} photos), scales {scales}")
            rows.append({method: _miou(value) for method, value in found["methods"].items()})
    titles = {"cam": "CAM"} | {
        f"{method} {profile}": f"{title}, `{profile}` profile" for profile in _PROFILES for title, method in _ROWS[1:]
    }
    return markdown(header, [[title, *(column[method] for column in rows)] for method, title in titles.items()])


def localisation() -> str:
    """Return the table of all methods: a row a set, split and method."""
    return _of_localisation(
        lambda results: markdown(
            ["photos", "method", "mIoU, %", "precision, %", "recall, %"],
            [
                [place, found["title"], *(_spread(found, measure) for measure in ("miou", "precision", "recall"))]
                for place, methods in _splits(results)
                for key, found in methods.items()
                if key not in VARIANTS
            ],
        )
    )


def localisation_variants() -> str:
    """Return the table of PACAM's ablations and metrics and IS-CAM's options: a row each, a column a set and split."""

    def table(results: Mapping[str, Any]) -> str:
        columns = _splits(results)
        keys = [key for key in columns[0][1] if key.startswith(("pacam", "iscam"))]
        rows = [
            [columns[0][1][key]["title"], *(_spread(methods[key], "miou") for _, methods in columns)] for key in keys
        ]
        return markdown(["seed mIoU, %", *(place for place, _ in columns)], rows)

    return _of_localisation(table)


def localisation_cost() -> str:
    """Return the table of what a photo costs under each method, of CAM's."""

    def table(results: Mapping[str, Any]) -> str:
        cost, titles = results["cost"], {key: found["title"] for _, of in _splits(results) for key, found in of.items()}
        rows = [
            [titles[key], *_price(cost["maps"][key], "{:.1f}", 1000), *_price(cost["generate"][key], "{:.2f}")]
            for key in cost["maps"]
        ]
        rows += [[name, "", "", f"{found['seconds_a_photo']:.2f}", ""] for name, found in cost["forwards"].items()]
        header = ["method", "maps alone, ms a photo", "over CAM's", "`lpcam generate`, seconds a photo", "over CAM's"]
        return markdown(header, rows)

    return _of_localisation(table, part="cost")


def ablation() -> str:
    """Return the table of all rows on whole yardsticks: mIoU."""
    return _of_ablation("seed mIoU, %", lambda row: _spread(row, "miou"))


def ablation_headline() -> str:
    """Return the README's table: a few rows of the given classifier."""
    if not _present(("ablation",)):
        return _NO_ABLATION
    parts = [part for part in _load("ablation")["results"]["parts"].values() if part["classifier"] == _GIVEN]
    places = {
        f"{part['title']}, {split} ({of_split['images']} photos)": of_split["rows"]
        for part in parts
        for split, of_split in part["splits"].items()
    }
    titles = {f"{base}+{post}" if post else base: f"{name}{after}" for base, name in _SHOWN for post, after in _AFTER}
    rows = [[title, *(_spread(rows[key], "miou") for rows in places.values())] for key, title in titles.items()]
    return markdown(["seed mIoU, %", *places], rows)


def ablation_gains() -> str:
    """Return the same by the difference to plain LPCAM."""
    return _of_ablation("mIoU over plain LPCAM, points", _gain)


def ablation_worst() -> str:
    """Return the same by the class that loses most against plain LPCAM."""
    return _of_ablation("IoU of the worst class over plain LPCAM, points", _worst_class)


def ablation_one_class() -> str:
    """Return the table of the sets of one class: IoU of that class, and the difference to plain LPCAM."""
    return _of_ablation("IoU of the class, %", lambda row: f"{_spread(row, 'miou')}, {_gain(row)}", one_class=True)


def ablation_plot() -> str:
    """Return the picture of the rows, where there is one."""
    shown = "![mIoU over plain LPCAM of every row, with 95 % intervals](plots/ablation.png)"
    return shown if _present(("ablation",)) else _NO_ABLATION


def _of_ablation(corner: str, cell: Callable[[Mapping[str, Any]], str], *, one_class: bool = False) -> str:
    """Return a table of the ablation: a line a row, a column a part and split."""
    found = _load("ablation")["results"]["parts"] if _present(("ablation",)) else {}
    places = {
        f"{part['title']}, {split} ({of_split['images']}), {part['classifier']}": of_split["rows"]
        for part in found.values()
        if one_class == part["one_class"]
        for split, of_split in part["splits"].items()
    }
    if not places:
        return _NO_ABLATION
    keys = dict.fromkeys(key for rows in places.values() for key in rows)
    lines = []
    for key in keys:
        row = next(rows[key] for rows in places.values() if key in rows)
        cells = [cell(rows[key]) if key in rows else "–" for rows in places.values()]
        lines.append([row["title"], row["post"], *cells])
    return markdown([corner, "followed by", *places], lines)


def _gain(row: Mapping[str, Any]) -> str:
    over = row["over_plain"]
    low, high = over["interval"]
    return f"{100 * over['miou']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _worst_class(row: Mapping[str, Any]) -> str:
    worst = row["over_plain"]["worst_class"]
    return f"{worst['name']} {100 * worst['iou']:+.1f}"


def propagation() -> str:
    """Return the table of what the walk and the edges cost: a row a step, columns a number of classes."""
    if not _present(("propagation",)):
        return _NO_PROPAGATION
    photos = _load("propagation")["results"]["photos"]
    steps = [step for step, found in next(iter(photos.values())).items() if "over_forwards" in found]
    rows = [[step, *(cell for found in photos.values() for cell in _step_cost(found[step]))] for step in steps]
    forwards = [cell for found in photos.values() for cell in (f"{1000 * found['forwards']['median']:.0f}", "")]
    header = [cell for of in photos for cell in (f"{of.replace('1 classes', '1 class')}: ms", "over the forwards, %")]
    return markdown(["step", *header], [*rows, ["forwards", *forwards]])


def propagation_memory() -> str:
    """Return the table of the memory that the walk and PAMR take: a row a step, a column a size of photo."""
    if not _present(("propagation",)):
        return _NO_PROPAGATION
    record = _load("propagation")
    sizes = {name: record["settings"][field] for name, field in (("photo", "size"), ("large", "large"))}
    rows = [
        [step, *(f"{found[name] / 2**20:.0f}" for name in sizes)] for step, found in record["results"]["memory"].items()
    ]
    return markdown(["MiB", *(f"{height} × {width}" for height, width in sizes.values())], rows)


def report() -> str:
    """Return the table of what the page about a run costs: a row a number of photos."""
    if not _present(("report",)):
        return "Not measured yet: `python -m benchmarks.report`."
    rows = [
        [
            str(run["photos"]),
            str(run["methods"]),
            f"{run['bytes'] / 1e6:.1f}",
            f"{run['seconds']:.0f}",
            f"{run['peak_bytes'] / 2**20:.0f}",
        ]
        for run in _load("report")["results"]["runs"]
    ]
    return markdown(["photos", "methods", "page, MB", "seconds", "peak memory, MiB"], rows)


def _step_cost(found: Mapping[str, Any]) -> tuple[str, str]:
    return f"{1000 * found['over_nothing_seconds']:.1f}", f"{100 * found['over_forwards']:.1f}"


def choices() -> str:
    """Return the table of K, τ and μ on real photos: a row a value."""
    if not _present(("choices",)):
        return "Not measured yet: `python -m benchmarks.choices`."
    results = _load("choices")["results"]
    rows = [
        [f"{symbol} = {value}", *_scores(found), *(f"{found[kind]:.1f}" for kind in _KINDS)]
        for symbol, field in (("K", "k"), ("τ", "tau"), ("μ", "class_threshold"))
        for value, found in results["choices"][field].items()
    ]
    corner = f"{results['images']} photos of {results['title']}"
    header = [
        corner,
        "mIoU, %",
        "precision, %",
        "recall, %",
        "threshold",
        *(f"{kind} a class" for kind in _KIND_TITLES),
    ]
    return markdown(header, [["CAM", *_scores(results["cam"]), "–", "–"], *rows])


def _scores(found: Mapping[str, Any]) -> list[str]:
    return [
        *(f"{100 * found[measure]:.1f}" for measure in ("miou", "precision", "recall")),
        f"{found['threshold']:.2f}",
    ]


def switches() -> str:
    """Return the table of the clustering's switches on COCO photos, with nothing after the maps."""
    if not _present(("ablation",)):
        return _NO_ABLATION
    part = _load("ablation")["results"]["parts"]["given-real_coco_subset"]["splits"]["train"]["rows"]
    return markdown(["", "mIoU, %"], [[part[key]["title"], _spread(part[key], "miou")] for key in _SWITCHES])


def tutorial_steps() -> str:
    """Return the table of the tutorial's steps: the first line of each, and its seconds."""
    steps = _tutorial()
    if not steps:
        return _NO_TUTORIAL
    rows = [[f"`{step['command'].splitlines()[0]}`", f"{step['seconds']:.0f}"] for step in steps]
    return markdown(["step", "seconds"], [*rows, ["together", f"{sum(step['seconds'] for step in steps):.0f}"]])


def tutorial_output(command: str) -> str:
    """Return what a command of the tutorial printed.

    Args:
        command: As the tutorial has it.
    """
    found = [step["output"] for step in _tutorial() if step["command"] == command]
    return f"```text\n{found[0]}\n```" if found else _NO_TUTORIAL


def _tutorial() -> list[dict[str, Any]]:
    return list(_load("tutorial")["results"]["steps"]) if _present(("tutorial",)) else []


def trained() -> str:
    """Return the table of the trained systems on the demo data set: a row a network, a column a method and split."""
    if not _present(("trained_demo",)):
        return "Not measured yet: `python -m benchmarks.trained`."
    splits = _load("trained_demo")["results"]["splits"]
    first = next(iter(splits.values()))
    columns = [(split, key) for key in next(iter(first.values())) for split in splits]
    titles = {key: found["title"] for key, found in first["start"].items()}
    rows = [
        [_NETWORKS[system], *(_spread(splits[split][system][key], "miou") for split, key in columns)]
        for system in first
    ]
    return markdown(["seed mIoU, %", *(f"{titles[key]}, {split}" for split, key in columns)], rows)


def _of_localisation(table: Callable[[Mapping[str, Any]], str], part: str = "sets") -> str:
    results = _load("localisation")["results"] if _present(("localisation",)) else {}
    return table(results) if results.get(part) else "Not measured yet: `python -m benchmarks.localisation`."


def _splits(results: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return every split's name and its methods."""
    return [
        (f"{found['title']}, {split} ({of_split['images']})", of_split["methods"])
        for found in results["sets"].values()
        for split, of_split in found["splits"].items()
    ]


def _spread(found: Mapping[str, Any], measure: str) -> str:
    if found[measure] is None:
        return "–"
    spread = f" ± {100 * found[f'{measure}_std']:.1f}" if len(found["runs"]) > 1 else ""
    return f"{100 * found[measure]:.1f}{spread}"


def _price(timing: Mapping[str, Any], form: str, per_second: float = 1) -> tuple[str, str]:
    return form.format(per_second * timing["seconds_a_photo"]), f"{timing['over_cam']:.2f}"


def all_checks() -> str:
    """Return the table of every check of ``make bench``, equal outputs and missed targets too."""
    rows = [
        [*_check_row(name, check), "ok" if check["passed"] else "**missed**"]
        for name in _present((*MAKE_BENCH, *_BY_HAND))
        for check in _load(name)["checks"]
    ]
    return markdown(["benchmark", "what", "measured", "limit", ""], rows)


def generate_speed() -> str:
    """Return the table of generate: a row a backbone and side."""
    records = [_load(name) for name in _present((*_DOZENS, "generate_speed"))]
    rows = []
    for kind, arch, found in [
        (_DOZENS.get(record["benchmark"], ""), *item) for record in records for item in record["results"].items()
    ]:
        forwards, one = (found["sides"][name]["median"] for name in ("forwards alone", "one at a time"))
        share = found.get("images_a_round", found["images"])  # older results: the same photos in every round
        for side, timing in found["sides"].items():
            low, high = (value / share for value in timing["quartiles"])
            seconds = timing["median"] / share
            ratios = (timing["median"] / forwards, one / timing["median"])
            cells = [f"{seconds:.2f}", f"{low:.2f} to {high:.2f}", *(f"{ratio:.2f}" for ratio in ratios)]
            rows.append([f"`{arch}`, {found['images']} photos{kind}", side, *cells])
    ratios_of = ("over the forwards alone", "faster than one at a time")
    header = ["backbone", "side", "seconds a photo", "quartiles", *ratios_of]
    return markdown(header, rows)


def peers() -> str:
    """Return the table of peers: a row a side."""
    results = _load("peers")["results"]
    forwards = results["sides"]["forward alone, channels last"]["median"]
    rows = [
        [side, f"{1000 * timing['seconds_a_photo']:.0f}", f"{timing['median'] / forwards:.2f}"]
        for side, timing in results["sides"].items()
    ]
    rows += [[library, f"left out: {reason}", ""] for library, reason in results["left_out"].items()]
    return markdown(["one photo, one class, scale 1", "ms", "over the forward alone, channels last"], rows)


def growth() -> str:
    """Return the table of the cost sweeps: a row a series."""
    rows = []
    for sweep in _load("cost")["results"].values():
        first, last = sweep["values"][0], sweep["values"][-1]
        for name, series in sweep["series"].items():
            ends = (f"{series['seconds'][0]:.3g}", f"{series['seconds'][-1]:.3g}")
            rows.append([sweep["axis"], f"{first} to {last}", name, *ends, sweep["unit"], f"{series['slope']:.2f}"])
    return markdown(["what grows", "from, to", "of", "at first", "at last", "in", "slope"], rows)


def startup() -> str:
    """Return the table of what starting takes."""
    results = _load("startup")["results"]
    rows = [[name, f"{found['median']:.2f}"] for name, found in results.items() if "median" in found]
    photos = {name: found for name, found in results.items() if "of the forwards" in found}
    for name, photo in photos.items():
        shown = name.replace("lpcam generate", "`lpcam generate`")
        rows += [[f"{shown}: {part}", f"{value:.2f}"] for part, value in photo.items()]
    return markdown(["what", "seconds"], rows)


def precisions() -> str:
    """Return the table of what a number format does to real photos."""
    rows = []
    for name, by_precision in _load("precision")["results"].items():
        for precision, found in by_precision.items():
            mious = [f"{100 * found['miou'][method]:.2f}" for method in ("cam", "lpcam")]
            faster = f"{found['times_faster']:.2f}"
            rows.append([f"`{name}`, {found['images']} photos", precision, *mious, faster])
    return markdown(["photos", "precision", "CAM, mIoU %", "LPCAM, mIoU %", "forwards, times faster"], rows)


def durations() -> str:
    """Return the table of how long every benchmark of ``make bench`` takes."""
    records = {name: _load(name) for name in _present(MAKE_BENCH)}
    known = {name: record["seconds"] for name, record in records.items() if "seconds" in record}
    rows = [[f"`{name}`", f"{known[name]:.0f}" if name in known else "not recorded"] for name in records]
    return markdown(["benchmark", "seconds"], [*rows, ["together", f"{sum(known.values()):.0f}"]])


def machines() -> str:
    """Return the table of where the results come from."""
    rows = []
    for name in _present((*MAKE_BENCH, *_BY_HAND)):
        where = _load(name)["environment"]
        load = f"{where['load_average'][0]:.1f}"
        rows.append([f"`{name}`", where["cpu"], str(where["threads"]), load, where["date"][:10], where["commit"][:7]])
    return markdown(["benchmark", "processor", "threads", "load before", "date", "commit"], rows)


_NO_ABLATION = "Not measured yet: `python -m benchmarks.ablation`."
_NO_PROPAGATION = "Not measured yet: `python -m benchmarks.propagation`."
_PLACE = re.compile(r"(<!-- ([\w-]+):begin -->\n).*?(<!-- \2:end -->)", re.DOTALL)
TABLES: dict[str, Callable[[], str]] = {
    "real-photos": real_photos,
    "second-backbone": second_backbone,
    "localisation": localisation,
    "localisation-variants": localisation_variants,
    "localisation-cost": localisation_cost,
    "ablation": ablation,
    "ablation-headline": ablation_headline,
    "ablation-gains": ablation_gains,
    "ablation-worst": ablation_worst,
    "ablation-one-class": ablation_one_class,
    "ablation-plot": ablation_plot,
    "propagation": propagation,
    "propagation-memory": propagation_memory,
    "report": report,
    "trained": trained,
    "choices": choices,
    "switches": switches,
    "tutorial-steps": tutorial_steps,
    "tutorial-extract": partial(
        tutorial_output,
        "lpcam extract-features --dataset demo --root first/data --arch demo "
        "--weights first/classifier.pth -w first/run",
    ),
    "tutorial-generate": partial(tutorial_output, "lpcam generate -w first/run --method cam,lpcam"),
    "tutorial-inspect": partial(tutorial_output, "lpcam inspect first/run/prototypes.safetensors"),
    "tutorial-cluster": partial(tutorial_output, "lpcam cluster -w first/run"),
    "tutorial-evaluate-cam": partial(tutorial_output, "lpcam evaluate -w first/run --method cam"),
    "tutorial-evaluate-lpcam": partial(tutorial_output, "lpcam evaluate -w first/run --method lpcam"),
    "tutorial-evaluate-seeds": partial(tutorial_output, "lpcam evaluate -w first/run --seeds first/settled"),
    "tutorial-evaluate": partial(tutorial_output, "lpcam evaluate -w first/run"),
    "all-checks": all_checks,
    "generate-speed": generate_speed,
    "peers": peers,
    "growth": growth,
    "startup": startup,
    "precisions": precisions,
    "durations": durations,
    "machines": machines,
}


def with_tables(text: str, tables: Mapping[str, Callable[[], str]] = TABLES) -> str:
    """Return a text with every table replaced by what the results say."""
    return _PLACE.sub(lambda place: f"{place[1]}{tables[place[2]]()}\n{place[3]}", text)


def _present(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if (RESULTS / f"{name}.json").is_file()]


def _load(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return value


def _check_row(name: str, check: dict[str, Any]) -> list[str]:
    return [f"`{name}`", check["name"], f"{check['value']:.4g}", f"{check['relation']} {check['limit']:g}"]


def _miou(found: dict[str, Any]) -> str:
    spread = f" ± {100 * found['miou_std']:.1f}" if len(found["runs"]) > 1 else ""
    return f"{100 * found['miou']:.1f}{spread}"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
