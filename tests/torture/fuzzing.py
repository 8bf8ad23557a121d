"""Spoilt and hostile files through every reader: a result that can be used or one line, within bounds, and no code run.

``python -m tests.torture.fuzzing --inputs 20000 --seed 1`` does it at length and prints a table; `test_fuzzed.py` in
short. Each reader (`doors.py`) first gets what a stranger would send (`strangers.py`), then spoilt files
(`mutations.py`).
A trial runs in a forked process with a bound on its memory and its time; afterwards nothing may lie outside ``out``, no
canary may have sung, and nothing that Python's audit hooks see of writing, starting, connecting or running may have
happened. ``--door NAME --number N --keep FILE`` writes the file of one trial.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lpcam.errors import LpcamError
from tests.torture import mutations, strangers
from tests.torture.apart import apart
from tests.torture.doors import Door, doors, make_world
from tests.torture.strangers import SENDERS, common

SECONDS = 10
"""Of processor time that a reader may take; of waiting three times as long."""
MEMORY = 2**30
"""Bytes that a reader may need."""

_SPOIL = {
    "dictionary": (mutations.spoil_npy,),
    "array": (mutations.spoil_array,),
    "torch": (mutations.spoil_torch, mutations.spoil_members),
    "safetensors": (mutations.spoil_safetensors, mutations.spoil_safetensors, mutations.spoil_header),
    "json": (mutations.spoil_json,),
    "json lines": (mutations.spoil_json_lines,),
    "instances": (mutations.spoil_json,),
    "png": (mutations.spoil_png,),
}
_TOKENS = {"dictionary": "pickle", "torch": "pickle", "array": "text", "safetensors": "json", "instances": "json"}
_TOKENS |= {"json lines": "json", "png": "image"}
_STARTED = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.", "pty.spawn")
_STARTED += (
    "urllib.Request",
    "ftplib.",
    "smtplib.",
    "webbrowser.",
    "ctypes.dlopen",
    "pickle.find_class",
    "code.__new__",
)
_CHANGED = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.symlink", "os.link")
_CHANGED += ("os.truncate", "os.utime", "shutil.", "tempfile.")


@dataclass(frozen=True)
class Trial:
    """One file in one reader.

    Attributes:
        door: The reader.
        number: Of the trial.
        what: What was done to the file.
        accepted: Whether something came out.
        said: The refusal.
        seconds: Of processor time.
        grown: Bytes of memory that it took at most.
        complaint: What must not be; empty where nothing is.
    """

    door: str
    number: int
    what: str
    accepted: bool
    said: str
    seconds: float
    grown: int
    complaint: str


# --------------------------------------------------------------------------------------------- files


class Sender:
    """The files that are sent to one door, by number: those of strangers first."""

    def __init__(self, door: Door, whole: bytes, canary: Path, seed: int, others: Sequence[bytes]) -> None:
        self._door, self._whole, self._seed, self._others = door, whole, seed, list(others)
        sent = {**common(canary), **SENDERS[door.form](whole, canary)}
        self._sent = list(sent.items())
        self.strangers = len(self._sent)

    def file(self, number: int) -> tuple[bytes, str]:
        """Return the bytes of a trial and what they are."""
        if number < self.strangers:
            what, data = self._sent[number]
            return data, what
        draw = random.Random(f"{self._seed} {self._door.name} {number}")
        ways = _SPOIL.get(self._door.form, ())
        if ways and draw.random() < 0.6:
            way = draw.choice(ways)
            try:
                return way(self._whole, draw), f"{way.__name__} {number}"
            except Exception:  # what was drawn cannot be written in this form
                return self._bytes(draw), f"bytes {number}"
        return self._bytes(draw), f"bytes {number}"

    def numbers(self, first: int, spoilt: int, part: int) -> list[int]:
        """Return the numbers of trials from ``first`` on: of strangers one in ``part``, others at every door."""
        offset = zlib.crc32(self._door.name.encode()) % part
        sent = range(offset, self.strangers, part)
        return [number for number in (*sent, *range(self.strangers, self.strangers + spoilt)) if number >= first]

    def _bytes(self, draw: random.Random) -> bytes:
        tokens = mutations.TOKENS[_TOKENS.get(self._door.form, self._door.form)]
        return mutations.some_bytes(self._whole, draw, tokens, self._others)


# -------------------------------------------------------------------------------------------- trials


class Watch:
    """Notes what a reader does beside reading, by Python's audit hooks."""

    def __init__(self, allowed: Path) -> None:
        self.seen: list[str] = []
        self.active = False
        self._allowed = os.fspath(allowed)
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        self.active = False
        try:
            if self._is_wrong(event, arguments):
                self.seen.append(f"{event} {arguments!r:.150}")
        finally:
            self.active = True

    def _is_wrong(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "exec":
            name = str(getattr(arguments[0], "co_filename", ""))
            return not name.startswith("<frozen") and not Path(name).is_file()
        if event == "open":
            return self._writes(arguments) and not self._is_allowed(arguments[0])
        if event.startswith(_CHANGED):
            return not self._is_allowed(arguments[0] if arguments else "")
        return event.startswith(_STARTED) and event != "socket.gethostname"  # by which a lock names its holder

    def _writes(self, arguments: tuple[Any, ...]) -> bool:
        _, mode, flags = arguments
        if isinstance(mode, str):
            return bool(set(mode) & set("wax+"))
        return bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))

    def _is_allowed(self, path: object) -> bool:
        if isinstance(path, int):
            return True  # of a file that was opened before
        return os.path.abspath(os.fsdecode(path)).startswith(self._allowed)  # type: ignore[arg-type]  # noqa: PTH100


def work(door: Door, world: Path, first: int, spoilt: int, part: int, seed: int, pipe: Connection) -> None:
    """Try the files of a door from a number on and tell of each; for a process of its own."""
    _settle(world)
    target = world / door.target
    whole = target.read_bytes()
    others = [path.read_bytes() for path in sorted(target.parent.glob(f"*{target.suffix}")) if path != target]
    gc.freeze()  # what was there before is not looked through after every file
    try:
        sender = Sender(door, whole, world / "canary", seed, others)
        if door.arrange:
            door.arrange(world)
        door.enter(world)  # it reads what is whole, and imports what it needs
    except Exception:
        pipe.send(traceback.format_exc())
        return
    watch = Watch(world / "out")
    for number in sender.numbers(first, spoilt, part):
        data, what = sender.file(number)
        pipe.send((number, what))
        pipe.send(asdict(_try(door, world, number, what, data, watch)))
        target.write_bytes(whole)
    pipe.send(None)


def _settle(world: Path) -> None:
    """Make a forked process one that may die: quiet, and in a folder of its own."""
    import torch

    torch.set_num_threads(1)
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 2)
    (world / "out").mkdir(exist_ok=True)
    (world / "secret").write_text("sheep")
    os.chdir(world)
    os.environ.update(HOME=str(world), TMPDIR=str(world / "out"))
    tempfile.tempdir = str(world / "out")


def _try(door: Door, world: Path, number: int, what: str, data: bytes, watch: Watch) -> Trial:
    (world / door.target).write_bytes(data)
    if door.arrange:
        door.arrange(world)
    before = _listing(world)
    watch.seen.clear()
    _trim()
    size = _begin_measuring()
    started = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    accepted, said, complaint = _enter(door, world, watch)
    signal.setitimer(signal.ITIMER_PROF, 0)
    seconds, grown = time.process_time() - started, _end_measuring() - size
    changed = sorted({path for path, _ in before ^ _listing(world)})
    if (world / "canary").exists():
        complaint = "the canary sang"
        (world / "canary").unlink()
    elif changed:
        complaint = complaint or f"changed {changed[:3]}"
    elif grown > MEMORY:
        complaint = complaint or f"took {grown / 1e9:.1f} GB"
    elif watch.seen:
        complaint = complaint or f"did {watch.seen[:3]}"
    return Trial(door.name, number, what, accepted, said, seconds, grown, complaint)


def _enter(door: Door, world: Path, watch: Watch) -> tuple[bool, str, str]:
    watch.active = True
    try:
        door.enter(world)
    except LpcamError as error:
        watch.active = False
        return False, str(error), _wrong_with(error)
    except BaseException as error:
        watch.active = False
        return False, "", f"{type(error).__name__}: {str(error)[:200]} in {_where(error)}"
    finally:
        watch.active = False
    return True, "", ""


def _wrong_with(error: LpcamError) -> str:
    text = str(error)
    if not text.isprintable():
        return f"its line does not print: {text[:100]!r}"
    if len(text) > 2000:
        return f"its line has {len(text)} letters"
    return ""


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/lpcam/" in frame.filename] or frames
    return ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in own[-2:])


def _listing(world: Path) -> set[tuple[str, tuple[int, int]]]:
    """Return everything in the world beside ``out``, and around it."""
    found: set[tuple[str, tuple[int, int]]] = set()
    folders, out = [os.fspath(world.parent)], os.fspath(world / "out")
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                inner, state = entry.is_dir(follow_symlinks=False), entry.stat(follow_symlinks=False)
                if entry.path == out:
                    continue
                found.add((entry.path, (state.st_size, 0 if inner else state.st_mtime_ns)))
                if inner:
                    folders.append(entry.path)
    return found


def _trim() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _begin_measuring() -> int:
    """Forget the highest memory so far, bound what may be added, and return what is taken now."""
    Path("/proc/self/clear_refs").write_text("5")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 2 * MEMORY  # for what is asked for and never filled
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    return _status("VmRSS")


def _end_measuring() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


# ----------------------------------------------------------------------------------------- processes


def trials(root: Path, door: Door, spoilt: int, part: int, seed: int) -> Iterator[Trial]:
    """Try files in one door; a process that dies is replaced.

    Args:
        root: Holds ``world``, see `make_world`.
        door: The reader.
        spoilt: Files that are tried after those that a stranger would send.
        part: One in so many of the strangers' files is tried.
        seed: Of everything random.

    Raises:
        RuntimeError: the reader does not read what is whole.
    """
    first: int | None = 0
    while first is not None:
        with tempfile.TemporaryDirectory(dir=root, ignore_cleanup_errors=True) as home:
            shutil.copytree(root / "world", Path(home) / "world")
            first = yield from _until_death(door, Path(home) / "world", first, spoilt, part, seed)


def _until_death(
    door: Door, world: Path, first: int, spoilt: int, part: int, seed: int
) -> Generator[Trial, None, int | None]:
    """Try files in a process until it dies, and return the number to go on with; None when all were tried."""
    ours, theirs = multiprocessing.Pipe()
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=work, args=(door, world, first, spoilt, part, seed, theirs), daemon=True)
    process.start()
    theirs.close()
    begun: tuple[int, str] | None = None
    try:
        while True:
            if not ours.poll(120 if begun is None else 4 * SECONDS):
                process.kill()
            told = ours.recv()
            if told is None:
                return None
            if isinstance(told, str):
                raise RuntimeError(f"{door.name}: {told}")  # noqa: TRY004
            if isinstance(told, tuple):
                begun = told
            else:
                begun = None
                yield Trial(**told)
    except EOFError:
        process.join()
        if begun is None:
            raise RuntimeError(f"{door.name}: its process died before the first file") from None
        number, what = begun
        yield Trial(door.name, number, what, False, "", SECONDS, 0, _death(process.exitcode))
        return number + 1
    finally:
        process.kill()
        process.join()
        ours.close()


def _death(code: int | None) -> str:
    name = signal.Signals(-code).name if code and code < 0 else str(code)
    return {"SIGPROF": f"more than {SECONDS} s", "SIGKILL": "it waits for something"}.get(name, f"it died of {name}")


def prepare(root: Path) -> None:
    """Make the world, in a process of its own.

    Raises:
        RuntimeError: it fails.
    """
    apart(multiprocessing.get_context("fork"), make_world, root / "world")
    for size in strangers.BOMBS:  # once, and not in every process
        strangers.packed(size)
    strangers.large_images()


# --------------------------------------------------------------------------------------------- table


@dataclass
class Tally:
    """What one door did.

    Attributes:
        inputs: Files tried.
        accepted: Of these, how many came out as something.
        seconds: Of the slowest.
        grown: Bytes of the greediest.
        complaints: What must not be.
    """

    inputs: int = 0
    accepted: int = 0
    seconds: float = 0.0
    grown: int = 0
    complaints: list[Trial] = field(default_factory=list)

    def add(self, trial: Trial) -> None:
        """Count a trial."""
        self.inputs += 1
        self.accepted += trial.accepted
        self.seconds = max(self.seconds, trial.seconds)
        self.grown = max(self.grown, trial.grown)
        if trial.complaint:
            self.complaints.append(trial)


def fuzz(root: Path, inputs: int, seed: int, only: str = "", part: int = 1) -> Iterator[tuple[str, Tally]]:
    """Try all doors one after the other and yield what each did.

    Args:
        root: An empty folder.
        inputs: Spoilt files, over all doors; those of strangers come on top.
        seed: Of everything random.
        only: A part of the names of the doors that are tried.
        part: One in so many of the strangers' files is tried at a door, others at every one.
    """
    prepare(root)
    chosen = [door for door in doors() if only in door.name]
    share = max(1, inputs // len(chosen))
    for door in chosen:
        tally = Tally()
        for trial in trials(root, door, share // 10 if door.slow else share, part, seed):
            tally.add(trial)
        yield door.name, tally


def main() -> int:
    """Fuzz, print a table, and return 1 where there is something that must not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", type=int, default=1, help="one in so many of the strangers' files at each door")
    parser.add_argument("--door", default="", help="part of a name")
    parser.add_argument("--number", type=int, help="write the file of this trial of the first such door")
    parser.add_argument("--keep", type=Path, default=Path("spoilt"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lpcam-fuzz-", ignore_cleanup_errors=True) as folder:
        if options.number is not None:
            return _keep(Path(folder), options)
        return _show(fuzz(Path(folder), options.inputs, options.seed, options.door, options.part))


def _keep(root: Path, options: argparse.Namespace) -> int:
    prepare(root)
    door = next(door for door in doors() if options.door in door.name)
    target = root / "world" / door.target
    others = [path.read_bytes() for path in sorted(target.parent.glob(f"*{target.suffix}")) if path != target]
    data, what = Sender(door, target.read_bytes(), root / "canary", options.seed, others).file(options.number)
    options.keep.write_bytes(data)
    _say(f"{options.keep}: {door.name}, {what}, {len(data)} bytes; it stands for {door.target}")
    return 0


def _show(found: Iterable[tuple[str, Tally]]) -> int:
    _say(f"{'reader':45} {'inputs':>7} {'accepted':>9} {'refused':>8} {'slowest, s':>11} {'most, MB':>9}")
    total = Tally()
    for name, tally in found:
        refused = tally.inputs - tally.accepted - len(tally.complaints)
        _say(
            f"{name:45} {tally.inputs:7} {tally.accepted:9} {refused:8} {tally.seconds:11.2f} {tally.grown / 1e6:9.0f}"
        )
        for trial in tally.complaints:
            _say(f"    {trial.number} ({trial.what}): {trial.complaint}")
        total.inputs += tally.inputs
        total.complaints += tally.complaints
    _say(f"{total.inputs} inputs, {len(total.complaints)} of them did what must not be")
    return int(bool(total.complaints))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
