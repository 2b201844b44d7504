"""What a message tells a user to do can be done: its commands are understood, and its options, keys and files exist."""

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

import pytest
import yaml
from configurations import changed
from messages import HOLE, keys_of_problems, sentences
from snakemake.cli import get_argument_parser

from fmri2img import plugins
from fmri2img.datasets.dataset import DatasetRecord
from fmri2img.errors import UserError
from fmri2img.methods.registry import MethodRecord
from fmri2img.paths import REPOSITORY
from fmri2img.settings.configuration import configuration_of
from fmri2img.settings.documentation import key_table
from fmri2img.settings.site import Site
from fmri2img.study import Study

PROGRAMS = ("snakemake", "make", "python", "pip", "git", "torchrun")
OTHERS = {"sinfo", "java"}  # named as what must be there
FILE = re.compile(r"\.(csv|tsv|npy|npz|json|ya?ml|txt|zip|pth?|parquet|smk|hdf5|md|conf|noun|html|svg|py|lock)$")
FOLDERS = "config|docs|envs|slurm|resources|workflow|scripts"


def found(pattern: str, text_of=lambda sentence: sentence.text) -> list[tuple[str, str]]:
    """(file and line, what the pattern finds) in all sentences."""
    return sorted({(s.where, match) for s in sentences() for match in re.findall(pattern, text_of(s))})


def test_the_sentences_of_all_errors_are_read():
    assert sum(sentence.raised for sentence in sentences()) > 300
    assert any("run `snakemake fetch` where there is internet" in sentence.text for sentence in sentences())


# ---- commands and options --------------------------------------------------------------------------------------------


COMMANDS = [
    (sentence.where, command)
    for sentence in sentences()
    for command in sentence.ticked
    if command.split(" ")[0] in (*PROGRAMS, *OTHERS)
]


@cache
def rules() -> set[str]:
    files = [
        *REPOSITORY.glob("workflow/**/*.smk"),
        *REPOSITORY.glob("scripts/**/*.smk"),
        REPOSITORY / "workflow/Snakefile",
    ]
    return {name for file in files for name in re.findall(r"^\s*rule (\w+):", file.read_text(encoding="utf-8"), re.M)}


def imported_in(where: str, module: str) -> bool:
    """Whether the file that says so imports the package of a module: then installing it is what helps there."""
    text = (REPOSITORY / where.partition(":")[0]).read_text(encoding="utf-8")
    return bool(re.search(rf"\b(?:import |from |import_module\(f?.){module.split('.')[0]}\b", text))


@pytest.mark.parametrize(("where", "command"), COMMANDS, ids=[f"{command} in {where}" for where, command in COMMANDS])
def test_a_command_is_understood_by_its_program(where, command):
    program, *arguments = shlex.split(command)
    if program == "snakemake":
        targets = get_argument_parser().parse_args(arguments).targets
        assert set(targets) <= {*rules(), HOLE}
    elif program == "make":
        makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{arguments[0]}:", makefile, re.M)
        assert all(f"$({name.partition('=')[0]})" in makefile for name in arguments[1:])
    elif program == "pip":
        assert arguments[0] == "install" and imported_in(where, arguments[1])
    elif program == "git":
        assert arguments[:2] == ["checkout", "--"]
    elif program in ("python", "torchrun"):
        module = arguments[1] if arguments[0] == "-m" else None
        assert imported_in(where, module) if module else (REPOSITORY / arguments[0]).is_file()
    else:
        assert program in OTHERS and not arguments


def test_every_command_and_option_is_marked_as_one():
    commands = found(
        r"\b(?:run (?:snakemake|make)|torchrun scripts|pip install|make (?:demo|test|plan|method)) ?\w*",
        lambda s: s.bare,
    )
    options = found(r"(?<![\w-])--(?!subjects)[a-z][a-z-]+", lambda s: s.bare if s.raised else "")
    assert commands + options == []


# ---- keys ------------------------------------------------------------------------------------------------------------


@cache
def keys() -> set[str]:
    """All dotted keys of the configuration; <name> and <n> stand for a name and a number."""
    table = key_table(configuration_of(*plugins.folders("datasets")).model_json_schema())
    return set(re.findall(r"^\| `([^`]+)` \|", table, re.M))


def is_key(dotted: str) -> bool:
    """Whether this is a key of the configuration, as a whole or from one of its dots on. HOLE stands for any names."""
    pattern = re.escape(dotted).replace(HOLE, r"[\w.<>]+")
    pattern = re.sub(r"\\\.\d+(?=\\\.|$)", r"\\.<n>", pattern)
    return any(re.search(rf"(^|\.){pattern}$", key) for key in keys())


def properties(schema) -> Iterator[str]:
    """Names of keys anywhere in a JSON schema."""
    for name, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if name == "properties":
            yield from value
        if isinstance(value, dict | list):
            yield from properties(value)


@cache
def names_of_keys() -> set[str]:
    """Names of keys in all files that users write: studies, sites, folders of methods and datasets, submissions,
    registries."""
    written = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in REPOSITORY.glob("workflow/schemas/*.yaml")]
    models = [configuration_of(*plugins.folders("datasets")), Site, MethodRecord, DatasetRecord]
    return {
        name for schema in [*written, *(model.model_json_schema() for model in models)] for name in properties(schema)
    }


def is_of_a_library(dotted: str) -> bool:
    """Whether this is a Python object, such as numpy.save."""
    module, _, name = dotted.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), name) or find_spec(dotted) is not None
    except ImportError:
        return False


def test_every_key_that_a_problem_is_reported_under_is_one_of_the_configuration():
    wrong = [(where, key) for where, key in keys_of_problems() if not is_key(key)]
    assert wrong == []


DOTTED = r"(?<![\w/{.<…*-])[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)+(?![\w(/…])"


@cache
def names_of_trainings() -> set[str]:
    """Names of what a training is started with, which rules, tasks and the methods' workflow.py write out."""
    makers = ["scripts/fmri2img/methods/*/workflow.py", "scripts/fmri2img/methods/*/task.py", "workflow/rules/fit.smk"]
    written = "".join(file.read_text(encoding="utf-8") for maker in makers for file in REPOSITORY.glob(maker))
    return names_of_keys() | set(re.findall(r'"(\w+)"', written)) | set(re.findall(r"\b(\w+)=", written))


def is_of_a_training(dotted: str) -> bool:
    """Whether this is a key of the configuration of a training, which is made from that of the study."""
    head, _, rest = dotted.partition(".")
    return head in ("settings", "training") and set(rest.split(".")) <= names_of_trainings()


@cache
def names_in_folders() -> set[str]:
    return set(properties(MethodRecord.model_json_schema()))


def is_of_another_file(dotted: str) -> bool:
    """Whether this is a key of a method's folder or of DeepSpeed's configuration."""
    deepspeed = json.loads((REPOSITORY / "config/deepspeed/zero2_offload.json").read_text(encoding="utf-8"))
    section, _, key = dotted.partition(".")
    return {section, key} <= names_in_folders() or key in deepspeed.get(section, {})


def test_every_dotted_name_in_an_error_is_a_key_a_file_or_a_python_object():
    known = (FILE.search, is_key, is_of_a_training, is_of_another_file, is_of_a_library)
    examples = {"package.module"}
    names = found(DOTTED, lambda s: s.bare if s.raised else "")
    wrong = [(where, name) for where, name in names if not any(test(name) for test in known) and name not in examples]
    assert wrong == []


def test_every_name_in_backticks_in_an_error_is_a_key_or_a_value():
    wrong = []
    for sentence in sentences():
        for ticked in sentence.ticked if sentence.raised else []:
            name = ticked.partition(":")[0].partition(".")[0]
            if ticked.split(" ")[0] not in (*PROGRAMS, *OTHERS) and name not in names_of_keys() and HOLE not in ticked:
                wrong.append((sentence.where, ticked))
    assert wrong == []


# ---- files and rules -------------------------------------------------------------------------------------------------


def test_every_file_of_the_repository_that_a_sentence_names_exists():
    written_by_users = {"slurm/site.yaml"}
    named = found(rf"(?<![\w/])(?:{FOLDERS})/[\w./-]*\w(?!…)")
    missing = [
        (where, path) for where, path in named if not (REPOSITORY / path).exists() and path not in written_by_users
    ]
    assert missing == []


def test_what_is_to_be_rerun_by_name_is_a_rule():
    purposes = {"to", "with"}  # rerun to resume
    named = found(r"\brerun ([a-z_]+)")
    assert [(where, name) for where, name in named if name not in purposes | rules()] == []


# ---- remedies of configurations, followed ----------------------------------------------------------------------------


def quoted(message: str) -> str:
    """The name that a message suggests."""
    return re.search(r"did you mean '([^']+)'", message)[1]


def listed(message: str) -> str:
    """The first of the names that a message lists as available."""
    return re.search(r"(?:available|one of|use|such as)[:]? '?([\w-]+)", message.rpartition(";")[2])[1]


def budgets(message: str) -> dict:
    return yaml.safe_load(re.search(r"write budgets: (.*)", message)[1])


@pytest.mark.parametrize(
    ("wrong", "follow"),
    [
        ({"methods": ["rigde"]}, lambda said: {"methods": [quoted(said)]}),
        ({"metrics": ["sim"], "methods": ["ridge"]}, lambda said: {"metrics": [quoted(said)]}),
        ({"nsd__betas__version": "b4"}, lambda said: {"nsd__betas__version": listed(said)}),
        ({"split": "shared900"}, lambda said: {"split": listed(said)}),
        ({"subjects": ["subj09"]}, lambda said: {"subjects": [listed(said)]}),
        ({"sessions": [1]}, lambda said: {"budgets": budgets(said)}),
        ({"sessions": [2, 3], "budgets": {"ridge": [1, 3]}}, lambda said: {"budgets": budgets(said)}),
        ({"sessions": [99]}, lambda said: {"sessions": [listed(said)], "budgets": {}}),
        ({"encoding__model": "demo_clip"}, lambda said: {"encoding__model": listed(said)}),
        ({"encoder": "demo_clop"}, lambda said: {"encoder": quoted(said)}),
        ({"methods": ["ridge_shuffled_brain"]}, lambda said: {"methods": ["ridge", "ridge_shuffled_brain"]}),
        (
            {"methods": ["ridge", "ferrante"], "metrics": ["pixcorr"]},
            lambda said: {"metrics": ["pixcorr", listed(said.rpartition(", or remove")[0])]},
        ),
        ({"bottleneck__directions": "takagi"}, lambda said: {"bottleneck__directions": listed(said)}),
        ({"refinement__start": 12}, lambda said: {"refinement__start": 0}),
        ({"dataset": "nds"}, lambda said: {"dataset": quoted(said)}),
        ({"test_sets": ["shared"]}, lambda said: {"test_sets": [quoted(said)]}),
        ({"analyses": ["takagi.encodin"]}, lambda said: {"analyses": [quoted(said)]}),
    ],
)
def test_a_configuration_that_follows_the_remedy_is_a_study(wrong, follow):
    with pytest.raises(UserError) as caught:
        Study(changed(**wrong))
    Study(changed(**{**wrong, **follow(str(caught.value))}))
