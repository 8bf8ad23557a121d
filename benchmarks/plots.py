"""The plots of the pages, drawn from the committed results and nothing else: ``python -m benchmarks.plots``.

A sweep of the cost benchmark is one log-log plot. A dashed grey line is a limit: what the backbone's forwards take. The
ablation is one figure, a panel a yardstick's split and classifier.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.record import RESULTS, ROOT

PLOTS = ROOT / "docs" / "plots"
_STYLES = {  # Okabe & Ito's colours, told apart by every kind of eye; the markers by the rest
    "generate": ("#0072B2", "o"),
    "extract-features": ("#E69F00", "s"),
    "one at a time": ("#D55E00", "^"),
    "k-means": ("#009E73", "D"),
    "folding, once a data set": ("#CC79A7", "v"),
}
_POINTS = list(_STYLES.values())[:4]
_TITLES = {
    "images": "Number of photos",
    "classes": "Classes of the data set",
    "labels": "Classes of a photo",
    "prototypes": "Prototypes of a class",
    "kmeans": "Centres of k-means, iterations fixed",
    "sides": "Side of a photo",
}


def draw(record: dict[str, Any]) -> dict[str, Figure]:
    """Return a figure for every sweep of a cost record."""
    return {f"cost_{name}": _figure(name, sweep) for name, sweep in record["results"].items()}


def draw_ablation(record: dict[str, Any]) -> Figure:
    """Return the difference of the rows of an ablation to plain LPCAM, with their intervals.

    Shown are the methods that every panel has, each followed by nothing, the walk, PAMR and both: the first four.
    """
    panels = [
        (f"{part['title']}, {split}\n{part['classifier']}", of_split["rows"])
        for part in record["results"]["parts"].values()
        for split, of_split in part["splits"].items()
        if not part["one_class"]
    ]
    methods = [{row["title"]: None for row in rows.values()} for _, rows in panels]
    titles = [title for title in methods[0] if all(title in found for found in methods)]
    posts = list(dict.fromkeys(row["post"] for _, rows in panels for row in rows.values()))[: len(_POINTS)]
    height = 1.2 + 0.16 * len(titles) * max(2, len(posts))
    figure = Figure(figsize=(2.2 + 2.4 * len(panels), height), dpi=120, layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, rows) in zip(grid, panels, strict=True):
        _panel(axes, rows, titles, posts)
        axes.set_title(title, loc="left", fontsize=9)
    grid[0].set_yticks(range(len(titles)), [title.replace("`", "") for title in titles])
    grid[0].set_ylim(len(titles) - 0.5, -0.5)
    handles = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def _panel(axes: Axes, rows: dict[str, Any], titles: list[str], posts: list[str]) -> None:
    """Draw a point and its interval for every row; what follows a method is told by colour and place."""
    axes.axvline(0, color="#666666", linewidth=0.8, zorder=1)
    for index, post in enumerate(posts):
        chosen = [row for row in rows.values() if row["post"] == post and row["title"] in titles]
        gains = [100 * row["over_plain"]["miou"] for row in chosen]
        ends = [[100 * end for end in row["over_plain"]["interval"]] for row in chosen]
        places = [titles.index(row["title"]) + 0.8 * ((index + 0.5) / len(posts) - 0.5) for row in chosen]
        colour, marker = _POINTS[index]
        axes.hlines(places, [low for low, _ in ends], [high for _, high in ends], color=colour, linewidth=1)
        axes.plot(gains, places, marker, color=colour, markersize=4, label=f"followed by {post}")
    axes.set_xlabel("mIoU over plain LPCAM, points", fontsize=8)
    axes.grid(visible=True, axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def write(folder: Path) -> list[Path]:
    """Draw the committed records into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = draw(json.loads((RESULTS / "cost.json").read_text(encoding="utf-8")))
    if (RESULTS / "ablation.json").is_file():
        figures["ablation"] = draw_ablation(json.loads((RESULTS / "ablation.json").read_text(encoding="utf-8")))
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], metadata={"Software": None})
    return paths


def _figure(name: str, sweep: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for label, series in sweep["series"].items():
        text = f"{label}, slope {series['slope']:.2f}"
        if series["limit"]:
            axes.plot(sweep["values"], series["seconds"], "--", color="#666666", label=text, zorder=1)
        else:
            colour, marker = _STYLES[label]
            axes.plot(sweep["values"], series["seconds"], marker=marker, color=colour, label=text, zorder=2)
    axes.set_title(_TITLES[name], loc="left")
    _scale(axes, sweep)
    axes.legend(frameon=False)
    return figure


def _scale(axes: Axes, sweep: dict[str, Any]) -> None:
    seconds = [value for series in sweep["series"].values() for value in series["seconds"]]
    axes.set(xscale="log", yscale="log", xlabel=sweep["axis"], ylabel=sweep["unit"])
    axes.set_xticks(sweep["values"], [str(value) for value in sweep["values"]])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(min(seconds) / 3, max(seconds) * 4)  # room for the legend, and what is flat looks flat
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    for path in write(PLOTS):
        print(f"written: {path}")
