"""Run commands of lpcam, or code, in this process, and say which of some modules that imported, and by way of what.

``python -m tests.importing MODULES STEP…``: MODULES are joined by commas, a STEP is a JSON list of a command's
arguments or a JSON string of code. A line for each module that came in goes to stderr.
"""

from __future__ import annotations

import json
import runpy
import sys
import traceback
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class Watch(MetaPathFinder):
    """Notes where some modules are first looked for, and finds none itself."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.places = names, dict[str, str]()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return None."""
        if name in self.names and name not in self.places:
            self.places[name] = " > ".join(
                f"{frame.filename.rpartition('site-packages/')[2]}:{frame.lineno}"
                for frame in traceback.extract_stack()[:-1]
                if not any(word in frame.filename for word in ("importlib", "runpy", "click", __file__))
            )
        return None

    def came_in(self) -> list[str]:
        """Return a line for each module that was imported, and not merely looked for."""
        return [f"{name} by {place}" for name, place in self.places.items() if name in sys.modules]


def main(names: str, *steps: str) -> None:
    watch = Watch(names.split(","))
    sys.meta_path.insert(0, watch)
    for step in map(json.loads, steps):
        if isinstance(step, str):
            exec(step, {})  # noqa: S102 - the test's own
        else:
            sys.argv[1:] = step
            try:
                runpy.run_module("lpcam_cli", run_name="__main__", alter_sys=False)
            except SystemExit as end:
                if end.code:
                    raise
    sys.stderr.write("\n".join(watch.came_in()))


if __name__ == "__main__":
    main(*sys.argv[1:])
