"""Lists of photos: which names a split has, and which files bear them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lpcam.errors import LpcamError, unknown

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
MASK_SUFFIXES = frozenset({".png"})

LONGEST_NAME = 200
"""The most bytes a photo's name may have: file systems take 255, and half-written files have 54 more."""

Spellings = Callable[[str, Path], Iterable[str]]
"""``spellings(name, path)`` returns the ways in which lists and tables may spell a photo, its name first."""

_IRN_LINE = re.compile(r"/?JPEGImages/([^/\s]+)\.\w+(\s+\S+)?")


def plain_spellings(name: str, path: Path) -> tuple[str, ...]:
    """Return the name of a photo without and with the suffix of its file."""
    return name, path.name


def check_root(root: Path) -> None:
    """Refuse a data set's folder that is not there.

    Raises:
        LpcamError: it is no folder.
    """
    if not root.is_dir():
        raise LpcamError(f"folder {root} does not exist: pass the data set's folder as --root")


def read_list(path: Path, *, paths: bool = False) -> tuple[str, ...]:
    """Read a split's list: a name a line, in order.

    Lines are names (``2007_000032``) or, as IRN writes them, the paths of photo and mask
    (``/JPEGImages/2007_000032.jpg /SegmentationClass/2007_000032.png``), of which the photo's name is taken.

    Args:
        path: The list.
        paths: Names may have folders before them (``a/b.jpg``); they are only looked up, never opened.

    Raises:
        LpcamError: the file is missing, empty, no UTF-8 text, repeats a name or has one that is no file
            name.
    """
    names: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        irn = _IRN_LINE.fullmatch(line)
        name = irn[1] if irn else line
        if not name:
            continue
        name = name.replace("\\", "/").removeprefix("./") if paths else name
        check_name(name.replace("/", "") if paths else name, f"{path}, line {number}")
        if name in names:
            raise LpcamError(f"{path} has '{name}' twice (lines {names[name]} and {number}): remove one")
        names[name] = number
    if not names:
        raise LpcamError(f"{path} lists no photos: write a name a line, or choose another split")
    return tuple(names)


def read_lines(path: Path) -> list[str]:
    """Return the stripped lines of a UTF-8 file, with or without a byte-order mark or CRLF.

    Raises:
        LpcamError: the file is missing or is not UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LpcamError(f"{path} does not exist: check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LpcamError(f"cannot read {path} ({reason}): expected a UTF-8 text file") from error
    return [line.strip() for line in text.split("\n")]


def check_name(name: str, source: str) -> None:
    """Refuse a name from which no file name can be made, on this system or in a seed folder.

    Args:
        name: The name of a photo, without suffix.
        source: Where it was found.

    Raises:
        LpcamError: it is empty, begins with a dot, holds ``..``, a separator, a control character or bytes that are no
            UTF-8, or is longer than `LONGEST_NAME`.
    """
    if not name or ".." in name or name.startswith(".") or re.search(r"[/\\\x00-\x1f\x7f\ud800-\udfff]", name):
        raise LpcamError(f"{source}: {name!r} is no photo's name: give the file's name without folders, '..' or a dot")
    if len(name.encode()) > LONGEST_NAME:
        raise LpcamError(
            f"{source}: '{name}' has {len(name.encode())} bytes and seeds bear the names of their photos, with more "
            f"behind while they are written: rename it to at most {LONGEST_NAME} bytes"
        )


def alike(names: Iterable[str]) -> tuple[str, ...]:
    """Return a notice where names differ only in case or in how accents are written: some file systems tell none apart.

    >>> [notice[:57] for notice in alike(["a", "b", "A"])]
    ["names of photos differ in case or accents only, such as '"]
    """
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if first != name:
            return (
                f"names of photos differ in case or accents only, such as '{first}' and '{name}': on file systems of "
                "macOS, Windows or SMB the seeds of one replace those of the other",
            )
    return ()


def find_list(split: str, folders: Sequence[Path]) -> Path:
    """Return the list file of a split.

    Args:
        split: The name of a list (``train``), or the path of a text file.
        folders: Where ``<split>.txt`` is looked for, first to last.

    Raises:
        LpcamError: there is no such list.
    """
    if split.endswith(".txt") or "/" in split or os.sep in split:
        path = Path(split)
        if not path.is_file():
            raise LpcamError(f"list {path} does not exist: pass a split's name or the path of a text file")
        return path
    found = [folder / f"{split}.txt" for folder in folders if (folder / f"{split}.txt").is_file()]
    if found:
        return found[0]
    choices = list_names(folders)
    if not choices:
        places = " or ".join(str(folder) for folder in folders)
        raise LpcamError(f"no list {split}.txt in {places}: write one, a name a line, or pass a list's path")
    raise unknown("split", split, choices)


def list_names(folders: Iterable[Path]) -> list[str]:
    """Return the names of the lists in some folders, sorted."""
    return sorted({path.stem for folder in folders for path in folder.glob("*.txt")})


def files_by_name(folder: Path, suffixes: frozenset[str]) -> dict[str, Path]:
    """Return the files of a folder by their names without suffix, sorted by name.

    Args:
        folder: Its own files are listed, not those of its folders; hidden files are passed over.
        suffixes: In lower case; files with another one are passed over.

    Raises:
        LpcamError: the folder cannot be read, or two files differ only in the suffix.
    """
    files: dict[str, Path] = {}
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_wanted(entry, suffixes))
    except OSError as error:
        raise LpcamError(f"cannot read folder {folder} ({error.strerror}): check the path") from error
    for name in names:
        stem = Path(name).stem
        if stem in files:
            raise LpcamError(f"{folder} has {files[stem].name} and {name}: rename one, names must be unique")
        files[stem] = folder / name
    return files


def photos_of(
    names: Sequence[str], files: Mapping[str, Path], source: Path, spellings: Spellings = plain_spellings
) -> dict[str, Path]:
    """Return the photo of every name of a list, by the photo's own name.

    Args:
        names: As the list has them: as one of the spellings, or as the integers IRN makes of names (2007000032 for
            ``2007_000032``), where no photo is called so.
        files: The photos by their own names.
        source: The list, for the message.
        spellings: The ways in which the list may spell a photo.

    Raises:
        LpcamError: a name has no photo.
    """
    by_spelling = {spelling: name for name, path in files.items() for spelling in spellings(name, path)}
    others = {**_by_number(files), **by_spelling}
    known = [name if name in files else others.get(name) for name in names]
    absent = [name for name, match in zip(names, known, strict=True) if match is None]
    if absent:
        raise LpcamError(
            f"{source} lists {len(absent)} of {len(names)} names without a photo, the first is '{absent[0]}': "
            "add the photos or take the names off the list"
        )
    photos = {name: files[name] for name in known if name is not None}
    if len(photos) < len(names):
        raise LpcamError(f"{source} lists a photo twice, spelled in two ways: remove one")
    return photos


def masks_of(photos: Iterable[str], folder: Path | None, default: Path) -> dict[str, Path]:
    """Return the masks of those photos that have one.

    Args:
        photos: The names of the photos.
        folder: Holds ``<name>.png``; a folder that was asked for must have masks of these photos.
        default: The folder to look in when none was asked for; it need not exist.

    Raises:
        LpcamError: a folder cannot be read, or the one asked for has no mask of any photo.
    """
    if folder is None and not default.is_dir():
        return {}
    files = files_by_name(folder or default, MASK_SUFFIXES)
    masks = {name: files[name] for name in photos if name in files}
    if folder and not masks:
        raise LpcamError(f"{folder} has no mask of these photos: pass a folder of <name>.png as --masks")
    return masks


def _by_number(names: Iterable[str]) -> dict[str, str]:
    """Return the names of digits and underscores by their digits, without those that two names share."""
    digits = ((name.replace("_", ""), name) for name in names)
    numbers = [(number, name) for number, name in digits if number.isascii() and number.isdecimal()]
    shared = {number for number, count in Counter(number for number, _ in numbers).items() if count > 1}
    return {number: name for number, name in numbers if number not in shared}


def _is_wanted(entry: os.DirEntry[str], suffixes: frozenset[str]) -> bool:
    suffix = Path(entry.name).suffix.lower()
    return suffix in suffixes and not entry.name.startswith(".") and entry.is_file()
