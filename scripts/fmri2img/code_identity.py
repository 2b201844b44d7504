"""What code a job depends on: a hash over everything that its script imports from this project.

Snakemake reruns a job when a parameter changes, so `code_of` is a parameter of every rule that runs one of our scripts.
The hash covers the syntax trees of the script and of all modules of the library that it imports, directly or through
others, at the top or inside a function. Comments, docstrings, formatting and the descriptions of settings do not count,
so that prose never retrains a network.
"""

import ast
import contextlib
import hashlib
import json
import os
import sys
from functools import cache
from pathlib import Path

from fmri2img.paths import REPOSITORY, SCRIPTS
from fmri2img.plugins import OUTSIDE

# Every job of a cluster reads the workflow again, and parsing all modules takes 1 s. All working directories share the
# file, unless the repository cannot be written to.
CACHE = (REPOSITORY if os.access(REPOSITORY, os.W_OK) else Path()) / ".snakemake/code_identity.json"
PACKAGE = "fmri2img"


@cache
def code_of(script: str | Path, *entry_points: str) -> str:
    """Hash of a script and of all that it imports from the library, first 16 hex digits of SHA-256.

    script: name of a script in scripts/ without suffix, the path of any other one, or "fmri2img.a.b" for a module of
    the library (of rules that would be costly to rerun for an edit of what cannot change their result). entry_points:
    modules that are imported by name at run time and so are not seen in the source, as "fmri2img.a.b" or
    "fmri2img.a.b:Class"; a package stands for all its modules. Raises FileNotFoundError for a script or entry point
    that does not exist.
    """
    if str(script).startswith(f"{PACKAGE}."):
        entry_points, found = (str(script), *entry_points), {}
    else:
        found = {"": Path(script) if Path(script).suffix == ".py" else SCRIPTS / f"{script}.py"}
    for entry in entry_points:
        modules = _all_modules(entry.partition(":")[0])
        if not modules:
            raise FileNotFoundError(f"code_of: no module '{entry.partition(':')[0]}' below {SCRIPTS}")
        found |= modules
    waiting = list(found)
    while waiting:
        importer = waiting.pop()
        for module, file in _sources().modules(importer, found[importer]).items():
            if module not in found:
                found[module] = file
                waiting.append(module)
    _sources().save()
    digest = hashlib.sha256()
    for module in sorted(found):
        digest.update(f"{module}\0{_sources().digest(found[module])}\0".encode())
    return digest.hexdigest()[:16]


def module_file(name: str) -> Path | None:
    """The source file of a module of the library or of a plug-in's folder; None where there is none."""
    base = SCRIPTS.joinpath(*name.split("."))
    for package, folder in OUTSIDE.items():
        if name == package or name.startswith(f"{package}."):
            base = folder.joinpath(*name.split(".")[len(package.split(".")) :])
    for file in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


def _with_packages(name: str) -> dict[str, Path]:
    """A module and the packages that importing it imports first; empty if the name is not a module."""
    parts = name.split(".")
    if module_file(name) is None:
        return {}
    prefixes = [".".join(parts[: n + 1]) for n in range(len(parts))]
    return {prefix: file for prefix in prefixes if (file := module_file(prefix)) is not None}


def _all_modules(name: str) -> dict[str, Path]:
    """An entry point and, where it is a package, every module in it."""
    found = _with_packages(name)
    folder = OUTSIDE.get(name, SCRIPTS.joinpath(*name.split(".")))
    for inner in sorted(folder.rglob("*.py")) if folder.is_dir() else []:
        parts = inner.relative_to(folder).with_suffix("").parts
        found[".".join([name, *(part for part in parts if part != "__init__")])] = inner
    return found


def _absolute(name: str, importer: str, file: Path) -> str:
    """The full name of what a module imports by `name`, which begins with a dot for each level of a relative import."""
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    parts = importer.split(".")
    parent = parts[: len(parts) - level + (file.name == "__init__.py")]
    return ".".join([*parent, *filter(None, [name[level:]])])


class _Sources:
    """Digest and imports of each source file, kept between runs under the hash of its bytes."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[str, list[str]]] = {}
        self._known: dict[str, tuple[str, list[str]]] = {}
        self._modules: dict[str, dict[str, Path]] = {}
        self._changed = False
        with contextlib.suppress(OSError, ValueError):
            stored = json.loads(CACHE.read_text())
            if stored.pop("python", None) == sys.version:
                self._known = {key: (str(digest), list(names)) for key, (digest, names) in stored.items()}

    def digest(self, path: Path) -> str:
        return self._source(path)[0]

    def modules(self, importer: str, path: Path) -> dict[str, Path]:
        """Those of the library that the module `importer`, or the script "", at `path` imports, with their packages."""
        key = importer or str(path)
        if key not in self._modules:
            names = self._source(path)[1]
            self._modules[key] = {
                module: file
                for name in names
                for module, file in _with_packages(_absolute(name, importer, path)).items()
            }
        return self._modules[key]

    def save(self) -> None:
        """Keep what was parsed. A folder that cannot be written to only costs the time."""
        if not self._changed:
            return
        self._changed = False
        temporary = CACHE.with_name(f"{CACHE.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            CACHE.parent.mkdir(exist_ok=True)
            temporary.write_text(json.dumps({"python": sys.version} | self._known))
            temporary.replace(CACHE)

    def _source(self, path: Path) -> tuple[str, list[str]]:
        if path not in self._read:
            source = path.read_bytes()
            key = hashlib.sha256(source).hexdigest()
            if key not in self._known:
                tree = ast.parse(source, path)
                names = _imported(tree)
                self._known[key] = hashlib.sha256(ast.dump(_without_prose(tree)).encode()).hexdigest(), names
                self._changed = True
            digest, names = self._known[key]
            self._read[path] = digest, names
        return self._read[path]


@cache
def _sources() -> _Sources:
    return _Sources()


def _imported(tree: ast.Module) -> list[str]:
    """Names of the library's modules that a module imports anywhere, and of what could be modules among them."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            joint = "." if node.module else ""
            names.update([base, *(f"{base}{joint}{alias.name}" for alias in node.names)])
    return sorted(name for name in names if name.startswith(".") or name.split(".")[0] == PACKAGE)


def _without_prose(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                del node.body[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Field":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
    return tree
