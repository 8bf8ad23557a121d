"""What was found when the files of a workspace were checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lpcam.errors import LpcamError


@dataclass(frozen=True)
class Problem:
    """A file that is not what it should be.

    Attributes:
        path: Of the file, in the workspace.
        what: Is wrong with it.
        repair: The command that makes it right.
    """

    path: str
    what: str
    repair: str


@dataclass(frozen=True)
class Verdict:
    """What became of the check of a workspace.

    Attributes:
        workspace: Its folder.
        checked: Files whose content was checked, by the stage they come from.
        problems: What is wrong.
        doubts: What is right and yet should be known, one line each.
        seconds: Wall time.
    """

    workspace: Path
    checked: dict[str, int]
    problems: tuple[Problem, ...]
    doubts: tuple[str, ...]
    seconds: float

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {**asdict(self), "workspace": str(self.workspace), "doubts": list(self.doubts), "sound": self.is_sound}


@dataclass
class Findings:
    """What one part of a workspace adds to the verdict.

    Attributes:
        root: Of the workspace.
        checked: Files.
        problems: As in `Verdict`.
        doubts: The same.
    """

    root: Path
    checked: int = 0
    problems: list[Problem] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def wrong(self, path: Path, what: object, repair: str) -> None:
        """Note a problem; of an error the path before it and the advice behind it are left out."""
        text = str(what).rpartition(": ")[0] or str(what) if isinstance(what, LpcamError) else str(what)
        text = text.removeprefix(f"{path} ").removeprefix("cannot read ").removeprefix(f"{path} ")
        self.problems.append(Problem(self.name(path), text, repair))

    def name(self, path: Path) -> str:
        """Return a path as it is called in the workspace."""
        return path.relative_to(self.root).as_posix()
