"""Where the repository and its library are, and how the paths that users write are read."""

import os
import re
from pathlib import Path

from fmri2img.errors import UserError

LIBRARY = Path(__file__).resolve().parent
SCRIPTS = LIBRARY.parent
REPOSITORY = SCRIPTS.parent
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def expanded(path: str) -> str:
    """A path that a user wrote, with ~ and $VARIABLES filled in as a shell does.

    Raises UserError for a variable that is not set, or a user that does not exist.
    """
    unset = [name for pair in VARIABLE.findall(path) for name in pair if name and name not in os.environ]
    if unset:
        raise UserError(f"{path}: the environment variable {unset[0]} is not set; set it, or write the path out")
    found = os.path.expanduser(os.path.expandvars(path))
    if found.startswith("~"):
        raise UserError(f"{path}: there is no user {found[1:].partition('/')[0]}; correct it, or write the path out")
    return found
