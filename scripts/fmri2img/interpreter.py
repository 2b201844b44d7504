"""Whether Snakemake can start jobs with a Python: it gives the path to bash as it is, unquoted.

envs/create_venv.sh asks before it installs anything, so this module needs the standard library alone:
`python -m fmri2img.interpreter <path of a Python>`.
"""

import re
import sys

from fmri2img.errors import UserError


def check_interpreter(path: str = sys.executable) -> None:
    """Raise UserError for a path that bash would not take for one word, such as one with a space."""
    if found := re.search(r"[^\w@%+=:,./~-]", path):
        character = "a space" if found[0] == " " else repr(found[0])
        raise UserError(
            f"{path}: Snakemake cannot start jobs with a Python whose path has {character} in it; move the repository "
            "to a path without, delete its .venv and start again (results may be there: `snakemake --directory FOLDER`)"
        )


if __name__ == "__main__":
    try:
        check_interpreter(sys.argv[1])
    except UserError as error:
        sys.exit(f"Error: {error}")
