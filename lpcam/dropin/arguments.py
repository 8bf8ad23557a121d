"""The argument bags of the repositories, read by the repositories' own names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lpcam.errors import LpcamError


@dataclass(frozen=True)
class Argument:
    """An argument of a repository's script.

    Attributes:
        name: As its command line has it, without the dashes in front (``cam_out_dir``, ``cam-npy-dir``).
        meaning: What lpcam does with it, for --help and the docs.
        kind: Makes its value from the text of a command line.
        default: Where it is not given.
        many: It takes several values on a command line.
        needed: There is no default.
        switch: It takes no value on a command line.
    """

    name: str
    meaning: str
    kind: Callable[[str], Any] = str
    default: Any = None
    many: bool = False
    needed: bool = False
    switch: bool = False

    @property
    def attribute(self) -> str:
        """Its name in the bag.

        >>> Argument("cam-npy-dir", "folder of the seeds").attribute
        'cam_npy_dir'
        """
        return self.name.replace("-", "_")


class Bag:
    """A repository's ``args``: any object whose attributes are the arguments.

    Args:
        args: As the repository's script made it; it is not changed.
        arguments: Those that are read.
    """

    def __init__(self, args: object, arguments: Sequence[Argument]) -> None:
        self._args = args
        self._arguments = {argument.name: argument for argument in arguments}

    def __getitem__(self, name: str) -> Any:
        """Return the value of an argument, or its default.

        Raises:
            LpcamError: it has no default and is absent or None.
        """
        argument = self._arguments[name]
        value = getattr(self._args, argument.attribute, None)
        if value is None and argument.needed:
            raise LpcamError(f"args has no '{argument.attribute}': give --{name} a value")
        return argument.default if value is None else value

    def path(self, name: str) -> Path:
        """Return an argument as a path, without a work space."""
        return Path(str(self[name]))

    def optional_path(self, name: str) -> Path | None:
        """Return an argument as a path, or None where it is absent or empty."""
        return self.path(name) if self[name] else None

    def within(self, work_space: str, name: str) -> Path:
        """Return an argument as a path under the work space.

        Scripts put the work space before the path in their first lines, so a path that has it already stays as it is.
        """
        return _within(self.path(work_space), self.path(name))

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return an argument of several numbers: a sequence, one number, or the text a command line leaves.

        Raises:
            LpcamError: it is none of these.
        """
        value = self[name]
        try:
            parts = re.split(r"[\s,]+", value.strip("()[] ,")) if isinstance(value, str) else _as_sequence(value)
            return tuple(float(part) for part in parts)
        except (TypeError, ValueError):
            raise LpcamError(f"{name} is {value!r}: give numbers such as 1.0 0.5 1.5 2.0") from None

    def number(self, name: str) -> float:
        """Return an argument that is one number.

        Raises:
            LpcamError: it is none.
        """
        try:
            return float(self[name])
        except (TypeError, ValueError):
            raise LpcamError(f"{name} is {self[name]!r}: give a number") from None

    def count(self, name: str) -> int:
        """Return an argument that counts something, ≥ 0.

        Raises:
            LpcamError: it is no such number.
        """
        value = self[name]
        if not str(value).strip().isdecimal():
            raise LpcamError(f"{name} is {value!r}: give a number, 0 or more")
        return int(value)


def existing(candidates: Sequence[Path], name: str) -> Path:
    """Return the first of some files that is there.

    Args:
        candidates: Where the repository looks for it, first to last.
        name: The argument it comes from, for the message.

    Raises:
        LpcamError: none is there.
    """
    found = [path for path in candidates if path.is_file()]
    if not found:
        places = " nor ".join(str(path) for path in candidates)
        raise LpcamError(
            f"{name}: there is no {places}: check --{name}, and start in the repository's folder if it is relative"
        )
    return found[0]


def with_suffix_added(path: Path, suffix: str = ".pth") -> Path:
    """Return the path with a suffix behind whatever it ends with, as ``torch.load(name + ".pth")`` does.

    >>> with_suffix_added(Path("sess/res50_cam.pth")).as_posix()
    'sess/res50_cam.pth.pth'
    """
    return path.with_name(path.name + suffix)


def _within(work_space: Path, path: Path) -> Path:
    begins_with_it = path.parts[: len(work_space.parts)] == work_space.parts
    return path if path.is_absolute() or begins_with_it else work_space / path


def _as_sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]
