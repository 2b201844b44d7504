"""Opening files: whatever a library raises for a damaged one becomes one line that names it, and the remedy.

Parsers raise almost anything for damaged bytes, of many types and in several lines, so each is called in a block of
`readable`, and only in one module for each format: NumPy's in artifacts.arrays, Parquet and JSON in artifacts.tables,
safetensors and torch in `tensors`, MATLAB in datasets.matlab. The linter refuses other callers (`banned-api` in
pyproject.toml). Each file is first compared with the record that was made when it was written (fmri2img.integrity).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fmri2img import integrity
from fmri2img.errors import UserError

LONGEST = 300  # characters of a library's message that are shown
PICKLED = (
    "holds Python objects other than tensors, arrays and numbers, which are not read because they can run code; where "
    "you trust the file, save the arrays alone"
)


def reason(error: BaseException) -> str:
    """The beginning of an error's message, in one line that can be printed, or its type if it has none."""
    text = "".join(c if c.isprintable() else "?" for c in str(error).strip().partition("\n")[0])
    return (text if len(text) <= LONGEST else f"{text[:LONGEST]}...").rstrip(". ") or type(error).__name__


@contextmanager
def readable(path: str | Path, what: str, remedy: str = "", absent: str = "") -> Iterator[None]:
    """Turn what the block raises into a UserError: `path` is not `what`, and the remedy.

    what: "a complete NumPy array", for example. remedy: that of a file of a study if it is not given; absent: the
    remedy of a file that is missing, if it is another one.
    """
    try:
        integrity.check(path)
        yield
    except (UserError, ImportError):
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {absent or remedy or integrity.again(path)}") from None
    except PermissionError:
        raise UserError(f"{path}: may not be read; change its permissions") from None
    except Exception as error:
        raise UserError(f"{path}: not {what} ({reason(error)}); {remedy or integrity.again(path)}") from None
