"""``python -m lpcam_cli``."""

from .main import main

main()
