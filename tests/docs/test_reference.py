"""docs/reference: every public name stands there, and says what it is."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType

import pytest

import lpcam
from tests.docs.following import ROOT
from tests.test_rooms import ORDER

PAGES = sorted((ROOT / "docs/reference").glob("*.md"))
SHOWN = [
    name
    for page in PAGES
    for name in re.findall(r"^::: (lpcam[\w.]*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
]


def test_every_room_stands_on_one_page():
    rooms = [name for name in SHOWN if name.removeprefix("lpcam.") in ORDER]
    assert sorted(rooms) == sorted(f"lpcam.{room}" for room in ORDER)


def test_every_name_of_the_package_stands_there():
    assert sorted(set(SHOWN) - {f"lpcam.{room}" for room in ORDER}) == sorted(f"lpcam.{name}" for name in lpcam.__all__)


def modules(room: str) -> Iterator[ModuleType]:
    """Yield a room and, where it is a folder, what is in it."""
    found = importlib.import_module(f"lpcam.{room}")
    yield found
    for module in pkgutil.iter_modules(getattr(found, "__path__", ())):
        if not module.name.startswith("_"):
            yield importlib.import_module(f"{found.__name__}.{module.name}")


def public(owner: object, module: str) -> Iterator[tuple[str, object]]:
    """Yield what is defined in a module, or in a class of it, and begins with no underscore."""
    for name, held in vars(owner).items():
        value = getattr(held, "__func__", held.fget if isinstance(held, property) else held)
        own = getattr(value, "__module__", None) == module and not name.startswith("_")
        if own and (inspect.isclass(value) or inspect.isfunction(value)):
            yield name, value


@pytest.mark.parametrize("room", ORDER)
def test_every_public_name_says_what_it_is(room):
    silent = []
    for module in modules(room):
        assert module.__doc__, module.__name__
        for name, value in public(module, module.__name__):
            members = public(value, module.__name__) if inspect.isclass(value) else ()
            named = [(name, value), *((f"{name}.{member}", of_class) for member, of_class in members)]
            silent += [f"{module.__name__}.{told}" for told, one in named if not (one.__doc__ or "").strip()]
    assert silent == []


def test_the_site_shows_them(site):
    shown = "".join((site / f"reference/{page.stem}.html").read_text(encoding="utf-8") for page in PAGES)
    anchors = set(re.findall(r'id="(lpcam[\w.]*)"', shown))
    missing = []
    for room in ORDER:
        for module in modules(room):
            names = [f"{module.__name__}.{name}" for name, _ in public(module, module.__name__)]
            missing += [name for name in names if name not in anchors]
    assert missing == []
    assert [f"lpcam.{name}" for name in lpcam.__all__ if f"lpcam.{name}" not in anchors] == []


def test_an_example_of_a_docstring_is_a_session():
    pytest.importorskip("griffe", reason="needs the docs extra")
    spec = importlib.util.spec_from_file_location("doctests", ROOT / "docs/doctests.py")
    doctests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(doctests)
    text = "Say it.\n\n>>> f(1)\n[2]\n>>> f(2)\n[3]\n\nMore."
    assert doctests.fenced(text) == "Say it.\n\n```pycon\n>>> f(1)\n[2]\n>>> f(2)\n[3]\n```\n\nMore."
