"""What the scripts of rules import, and what the Conda environments of their rules hold."""

import ast
import re
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rattler import MatchSpec

import write_environments
from fmri2img import plugins
from fmri2img.backbones.targets import TARGETS
from fmri2img.code_identity import module_file
from fmri2img.methods.registry import read_methods

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts"
RULE_FILES = [*REPOSITORY.glob("workflow/rules/*.smk"), *(SCRIPTS / "fmri2img").rglob("*.smk")]
# import name -> distribution on PyPI, where they differ by more than - and _
DISTRIBUTIONS = {
    "PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn", "skimage": "scikit-image",
    "open_clip": "open-clip-torch", "botocore": "boto3", "urllib3": "boto3", "rattler": "py-rattler",
}  # fmt: skip
# Imported only where a configuration asks for it; the message says how to install it.
OPTIONAL = {"bitsandbytes", "dreamsim", "pycocoevalcap"}
# Imports torch in jobs that request a GPU; a test checks that their environments have it.
FOR_GPUS = SCRIPTS / "fmri2img/devices.py"


class Job(NamedTuple):
    """A script that a rule runs, and the environment that the rule names."""

    script: Path
    environment: str


@cache
def jobs() -> list[Job]:
    """Scripts of all rules, whether `script` or a shell command runs them.

    Rules in a dataset's folder run scripts of that folder, and those in a method's folder may.
    """
    found = set()
    for file in RULE_FILES:
        for block in re.split(r"\n *rule[ :]", file.read_text(encoding="utf-8"))[1:]:
            environment = re.search(r"envs/(\w+)\.yaml", block)
            for script in re.findall(r"scripts/(\w+\.py)", block):
                near = [file.parent / "scripts", file.parent.parent / "scripts"]
                folder = next((own for own in near if (own / script).is_file()), SCRIPTS)
                found.add(Job(folder / script, environment[1]))
    return sorted(found)


def rules() -> dict[str, str]:
    """Rule -> its text."""
    blocks = [b for file in RULE_FILES for b in re.split(r"\n *rule ", file.read_text(encoding="utf-8"))[1:]]
    return {block.partition(":")[0]: block for block in blocks}


def shell_rules() -> dict[str, str]:
    """Rule with a shell command -> its text."""
    return {name: text for name, text in rules().items() if re.search(r"^ *shell:", text, re.M)}


def _tasks() -> set[str]:
    return {task for entry in read_methods().values() for task in entry.get("task", {}).values()}


def _entries(key: str) -> set[str]:
    return {entry[key] for entry in read_methods().values() if key in entry}


def _functions(key: str) -> set[str]:
    return {entry[key]["function"] for entry in read_methods().values() if key in entry}


def _loaders(target: str) -> set[str]:
    return {source.loader for source in TARGETS[target].values() if source.loader}


# Script -> the functions that it imports by name at run time, as "module:function", or packages for all their modules.
BY_NAME = {
    "train": _tasks,
    "decode": lambda: _entries("decode"),
    "draw": lambda: _functions("drawing"),
    "make": lambda: _functions("made_by"),
    "make_cards": lambda: _entries("card"),
    "embed_stimuli": lambda: _loaders("tokens"),
    "encode_latents": lambda: _loaders("latents"),
    "embed_texts": lambda: _loaders("texts"),
    "evaluate_predictions": lambda: {
        f"fmri2img.metrics.evaluate_modules.{file.stem}"
        for file in (SCRIPTS / "fmri2img/metrics/evaluate_modules").glob("*.py")
    },
}


def scripts_given_entry_points() -> set[str]:
    """Scripts for which a rule passes modules to `code_of` besides the script: they import these by name."""
    text = "".join(file.read_text(encoding="utf-8") for file in RULE_FILES)
    return set(re.findall(r'code_of\("(\w+)", ', text))


@cache
def modules_named_by(script: Path) -> list[str]:
    """Modules that a script imports by name at run time."""
    named = BY_NAME[script.stem]() if script.parent == SCRIPTS and script.stem in BY_NAME else set()
    return sorted({name.partition(":")[0] for name in named})


@cache
def third_party(script: Path) -> frozenset[str]:
    """Top-level names of all modules outside the library and Python that a script imports, itself or through others."""
    files = [script, *(_file(name) for name in modules_named_by(script))]
    seen: set[Path] = set()
    found: set[str] = set()
    while files:
        file = files.pop()
        if file not in seen:
            seen.add(file)
            ours, others = imported(file)
            files += ours
            found |= others if file != FOR_GPUS else set()
    return frozenset(found - OPTIONAL)


def _file(module: str) -> Path:
    file = module_file(module)
    assert file is not None, module
    return file


@cache
def imported(path: Path) -> tuple[list[Path], set[str]]:
    """Files of the library, and top-level names of other modules, that a file imports at its top or in a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    never_run = {child for block in for_types for child in ast.walk(block)}
    ours, others = [], set()
    for node in ast.walk(tree):
        if node in never_run:
            continue
        for module in _modules(node):
            if module.split(".")[0] == "fmri2img":
                parts = module.split(".")
                files = [module_file(".".join(parts[: n + 1])) for n in range(len(parts))]  # packages come first
                ours += [file for file in files if file]
            elif module.split(".")[0] not in sys.stdlib_module_names:
                others.add(module.split(".")[0])
        ours += _of_folders(node)
    return ours, others


def _modules(node: ast.AST) -> list[str]:
    """What an import statement, or a call of importlib.import_module with a text, imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
        first = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
        if isinstance(first, ast.Constant) and not first.value.startswith("fmri2img."):
            return [first.value]
    return []


def _of_folders(node: ast.AST) -> list[Path]:
    """What `plugins.load(kind, name, "module:member")` may import: the module of this name in every folder."""
    if (
        isinstance(node, ast.Call)
        and ast.unparse(node.func) == "plugins.load"
        and isinstance(node.args[-1], ast.Constant)
    ):
        name = f"{node.args[-1].value.partition(':')[0]}.py"
        return [file for kind in plugins.RECORDS for file in plugins.files(kind, name)]
    return []


def distribution(module: str) -> str:
    """The distribution on PyPI that holds a module, as the lock file spells it."""
    return write_environments.canonicalize_name(DISTRIBUTIONS.get(module, module))


class Held(NamedTuple):
    """A package of an environment file. reason: the comment on its line."""

    name: str
    specification: str
    by_pip: bool
    reason: str


def held(text: str) -> list[Held]:
    """The packages of an environment file."""
    lines = re.findall(r"^( *)- ([\w.-]+) ?([^#\n]*?) *(?:# (.*))?$", text.partition("dependencies:")[2], re.M)
    return [
        Held(name, specification, len(indent) > 2, reason)
        for indent, name, specification, reason in lines
        if name != "pip" or not specification.startswith(":")
    ]


def conda_name(distribution: str) -> str:
    """What conda-forge calls a distribution of PyPI."""
    return write_environments.CONDA_NAMES.get(distribution, distribution)


def missing(text: str, modules: set[str]) -> set[str]:
    """Distributions that scripts import and an environment file lacks, by the names of conda-forge or, in the pip
    section, of PyPI."""
    names = {package.name for package in held(text)}
    needed = {distribution(module) for module in modules}
    return {name for name in needed if not {name if name in _pip(text) else conda_name(name)} <= names}


def unused(text: str, modules: set[str]) -> set[str]:
    """Packages of an environment file that no script imports and whose line gives no reason."""
    needed = {distribution(module) for module in modules}
    return {
        package.name
        for package in held(text)
        if write_environments.pypi_name(package.name) not in needed and not package.reason
    } - {"python", "pip"}


def _pip(text: str) -> set[str]:
    return {package.name for package in held(text) if package.by_pip}


def needless_reasons(text: str, modules: set[str]) -> set[str]:
    """Packages that a script imports, and whose line gives a reason all the same."""
    needed = {distribution(module) for module in modules}
    return {p.name for p in held(text) if p.reason and write_environments.pypi_name(p.name) in needed}


def specifications(text: str) -> list[MatchSpec]:
    """What Conda is asked for."""
    return [MatchSpec(f"{p.name} {p.specification}".strip(), strict=True) for p in held(text) if not p.by_pip]
