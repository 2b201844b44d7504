"""Where the repository and its library are."""

from pathlib import Path

LIBRARY = Path(__file__).resolve().parent
SCRIPTS = LIBRARY.parent
REPOSITORY = SCRIPTS.parent
