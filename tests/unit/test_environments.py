"""Each rule's Conda environment holds what its script imports and nothing else, at the versions of the lock file."""

import re
import subprocess

import pytest
import yaml
from environments import (
    BY_NAME,
    REPOSITORY,
    RULE_FILES,
    SCRIPTS,
    distribution,
    held,
    imported,
    jobs,
    missing,
    needless_reasons,
    rules,
    scripts_given_entry_points,
    shell_rules,
    specifications,
    third_party,
    unused,
)
from packaging.requirements import Requirement

import write_environments
from fmri2img import job_environment

STAGES = sorted({job.environment for job in jobs()})
DEMO_NETWORKS = REPOSITORY / "tools/demo_networks"
# Direct dependencies that no Python file and no rule imports, and that no environment gives a reason for.
TOOLS = {
    "snakefmt": "make lint",
    "ruff": "make lint",
    "codespell": "make lint",
    "pytest-xdist": "make test",
    "mypy": "make lint",
    "types-pyyaml": "types for mypy",
    "pandas-stubs": "types for mypy",
    "pre-commit": "CONTRIBUTING.md",
}


def stage(name: str) -> str:
    return (REPOSITORY / f"envs/{name}.yaml").read_text(encoding="utf-8")


def imported_in(environment: str) -> set[str]:
    """Modules that the scripts of an environment's rules import."""
    return set().union(*(third_party(job.script) for job in jobs() if job.environment == environment))


def imported_by_demo_networks() -> set[str]:
    return set().union(*(third_party(file) for file in DEMO_NETWORKS.glob("*.py"))) - {"demo_networks"}


@pytest.mark.parametrize(("script", "environment"), [(job.script.relative_to(SCRIPTS), job[1]) for job in jobs()])
def test_environment_holds_what_the_script_imports(script, environment):
    assert missing(stage(environment), third_party(SCRIPTS / script)) == set()


@pytest.mark.parametrize("environment", STAGES)
def test_environment_holds_nothing_that_is_neither_imported_nor_explained(environment):
    assert unused(stage(environment), imported_in(environment)) == set()
    assert needless_reasons(stage(environment), imported_in(environment)) == set()


def test_planted_packages_are_found():
    text = stage("decode")
    planted = text.replace("  - scipy =", "  - nilearn =0.13.1\n  - scikit-learn =1.9.1 # for the future\n  - scipy =")
    assert unused(planted, imported_in("decode")) == {"nilearn"}
    assert missing(text.replace("  - scipy =", "  - numba ="), imported_in("decode")) == {"scipy"}
    by_pip = stage("models").replace("      - himalaya==", "      - imageio==2.37.0\n      - himalaya==")
    assert unused(by_pip, imported_in("models")) == {"imageio"}
    explained = text.replace("  - numpy =2.4.6", "  - numpy =2.4.6 # arrays")
    assert needless_reasons(explained, imported_in("decode")) == {"numpy"}


def test_a_name_that_conda_forge_does_not_have_is_found():
    assert "huggingface_hub" in {package.name for package in held(stage("models"))}
    pypis = stage("models").replace("huggingface_hub", "huggingface-hub").replace("pytorch =", "torch =")
    assert missing(pypis, imported_in("models")) == {"huggingface-hub", "torch"}


def test_scripts_of_shell_commands_are_among_the_scripts():
    scripts = {job.script.name for job in jobs()}
    assert {"train.py", "import_mindeye2.py", "acquire.py"} <= scripts
    for rule, text in shell_rules().items():
        assert set(re.findall(r"(\w+\.py)", text)) & scripts, rule


def test_modules_that_are_imported_by_name_are_known():
    assert scripts_given_entry_points() == set(BY_NAME)
    assert "diffusers" in third_party(SCRIPTS / "draw.py"), "which only its drawing pipelines import"


def test_jobs_that_request_a_gpu_have_torch():
    classes = yaml.safe_load((REPOSITORY / "config/resources.yaml").read_text(encoding="utf-8"))["cluster"]
    with_gpu = {name for name, needs in classes.items() if "gpu" in needs}
    environments = set()
    for text in rules().values():
        if with_gpu & set(re.findall(r'needs\(\s*"(\w+)"', text)):
            environments |= set(re.findall(r"envs/(\w+)\.yaml", text))
    assert environments >= {"models", "train"}
    assert all("pytorch" in {package.name for package in held(stage(name))} for name in environments)


def test_every_environment_is_used_and_every_rule_has_one():
    assert set(STAGES) == {path.stem for path in (REPOSITORY / "envs").glob("*.yaml")}


def test_every_direct_dependency_is_imported_or_has_a_reason():
    others: set[str] = set()
    for folder in ("scripts", "tests", "tools"):
        for file in (REPOSITORY / folder).rglob("*.py"):
            others |= imported(file)[1]
    for file in RULE_FILES:
        others |= set(re.findall(r"^ *(?:from|import) (\w+)", file.read_text(encoding="utf-8"), re.M))
    used = {distribution(module) for module in others}
    lines = (REPOSITORY / "envs/requirements.in").read_text(encoding="utf-8").splitlines()
    direct = {distribution(Requirement(line).name) for line in lines if line and not line.startswith("#")}
    explained = {package.name for name in STAGES for package in held(stage(name)) if package.reason}
    assert direct - used - set(TOOLS) - explained == set()
    assert set(TOOLS) <= direct - used, "a reason that is not needed"


@pytest.mark.parametrize("path", write_environments.environment_files(), ids=lambda path: path.stem)
def test_packages_are_named_once_and_conda_can_read_them(path):
    text = path.read_text(encoding="utf-8")
    names = [package.name for package in held(text)]
    assert len(names) == len(set(names)) > 4
    for package, specification in zip((p for p in held(text) if not p.by_pip), specifications(text), strict=True):
        assert specification.version or package.name == "pip", package.name


def test_versions_are_those_that_the_lock_gives_the_environments_python():
    python = write_environments.python_of(stage("decode"))
    assert python == "3.11" == write_environments.IMAGE_PYTHON
    for path in write_environments.environment_files():
        text = path.read_text(encoding="utf-8")
        for package in held(text):
            version = write_environments.locked(python).get(write_environments.pypi_name(package.name))
            if version:
                assert package.specification.lstrip("=") == version, f"{path.stem}: {package.name}"
            else:
                assert package.name in {"python", "pip", "cxx-compiler"}, f"{path.stem}: {package.name} is not locked"


def test_the_lock_gives_each_python_its_own_versions():
    old, new = write_environments.locked("3.11"), write_environments.locked("3.13")
    assert old["numpy"] != new["numpy"] and old["torch"] == new["torch"]
    assert not [name for name in old if "nvidia" in name and name not in new]
    moved = stage("decode").replace("python =3.11", "python =3.13")
    assert f"numpy ={new['numpy']}\n" in write_environments.with_locked_versions(moved)


def test_environments_and_image_recipes_are_those_that_the_lock_gives():
    outdated = [path for path, text in write_environments.documents().items() if path.read_text("utf-8") != text]
    assert outdated == [], "run python tools/write_environments.py"


def test_the_lock_pins_by_hash_and_names_no_host():
    lock = write_environments.LOCK.read_text(encoding="utf-8")
    assert "://" not in lock
    blocks = re.split(r"\n(?=[\w.-]+==)", lock)[1:]
    assert len(blocks) > 100 and all("--hash=sha256:" in block for block in blocks)


def test_the_demo_networks_environment_holds_what_their_recipes_import():
    text = (DEMO_NETWORKS / "environment.yaml").read_text(encoding="utf-8")
    assert missing(text, imported_by_demo_networks()) == set()
    assert unused(text, imported_by_demo_networks()) == set()


def recipe(name: str) -> str:
    return (REPOSITORY / "envs" / name).read_text(encoding="utf-8")


def test_both_image_recipes_run_the_same_commands_and_set_the_same_variables():
    docker, apptainer = recipe("Dockerfile"), recipe("apptainer.def")
    commands = write_environments.install_commands("/opt/requirements.lock")
    assert commands[-1].endswith("--require-hashes --requirement /opt/requirements.lock")
    in_order = r"[\s\S]+".join(map(re.escape, commands))
    assert re.search(in_order, docker) and re.search(in_order, apptainer)
    set_by_docker = dict(re.findall(r'^ENV (\w+)="(.*)"$', docker, re.M))
    set_by_apptainer = dict(re.findall(r'^ +export (\w+)="(.*)"$', apptainer, re.M))
    assert set_by_docker == set_by_apptainer == write_environments.variables()
    script = re.search(r"^RUN (.*?)(?=^ENV)", docker, re.M | re.S)[1]
    for shell in (script, re.search(r"%post\n(.*?)\n%", apptainer, re.S)[1]):
        subprocess.run(["sh", "-n"], input=shell, text=True, check=True)


def test_the_images_digest_follows_the_lock(monkeypatch, tmp_path):
    digest = write_environments.image_digest()
    assert f'FMRI2IMG_IMAGE="{digest}"' in recipe("Dockerfile")
    changed = tmp_path / "requirements.lock"
    changed.write_text(write_environments.LOCK.read_text(encoding="utf-8").replace("numpy==", "numpy==1", 1))
    monkeypatch.setattr(write_environments, "LOCK", changed)
    assert write_environments.image_digest() != digest


def prepared(monkeypatch, variables: dict[str, str], driver) -> dict[str, str]:
    """The environment of jobs whose workflow is started with `variables`."""
    environment = {"PATH": "/usr/bin"} | variables
    monkeypatch.setattr(job_environment.os, "environ", environment)
    monkeypatch.setattr(job_environment, "NVIDIA_DRIVER", driver)
    job_environment.prepare(None)
    return environment


def test_conda_takes_builds_for_cuda_on_a_login_node_without_a_driver(monkeypatch, tmp_path):
    assert prepared(monkeypatch, {}, tmp_path / "none")["CONDA_OVERRIDE_CUDA"] == job_environment.CUDA
    assert write_environments.locked("3.11")["cuda-toolkit"].startswith(f"{job_environment.CUDA}.")
    older = {"CONDA_OVERRIDE_CUDA": "12.9"}
    assert prepared(monkeypatch, older, tmp_path / "none")["CONDA_OVERRIDE_CUDA"] == "12.9"
    (tmp_path / "version").touch()
    assert "CONDA_OVERRIDE_CUDA" not in prepared(monkeypatch, {}, tmp_path / "version"), "Conda asks the driver"
