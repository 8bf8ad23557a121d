"""``python -m lpcam.dropin``: the tables of docs/dropin.md."""

from __future__ import annotations

import sys

from lpcam.dropin.table import TABLES

for _name, _table in TABLES.items():
    sys.stdout.write(f"<!-- dropin-{_name}:begin -->\n{_table()}\n<!-- dropin-{_name}:end -->\n\n")
