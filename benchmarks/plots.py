"""The plots of docs/performance.md, drawn from the committed results and nothing else: ``python -m benchmarks.plots``.

A sweep of the cost benchmark is one log-log plot. A dashed grey line is a limit: what the backbone's forwards take.
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
}
_TITLES = {
    "images": "Number of photos",
    "classes": "Classes of the data set",
    "prototypes": "Prototypes of a class",
    "kmeans": "Centres of k-means, iterations fixed",
    "sides": "Side of a photo",
}


def draw(record: dict[str, Any]) -> dict[str, Figure]:
    """Return a figure for every sweep of a cost record."""
    return {f"cost_{name}": _figure(name, sweep) for name, sweep in record["results"].items()}


def write(folder: Path) -> list[Path]:
    """Draw the committed record into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    record = json.loads((RESULTS / "cost.json").read_text(encoding="utf-8"))
    paths = []
    for name, figure in draw(record).items():
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
