"""Which process runs a test, what it inherits, and the options of those that draw their cases at random."""

import os
from pathlib import Path

import pytest

# A make that a test starts is not a child of `make test`, which would have it print the directories it enters.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)

# What takes longest begins first, so that no process works alone at the end; the rest follows in the files' order.
LONGEST = (
    "test_method_folders", "finished", "test_conda", "test_failures", "test_training_faults", "test_dag",
    "test_what_reruns", "test_other_datasets", "test_adding_a_method", "test_adding_a_dataset", "test_acquired_tree",
)  # fmt: skip
LOOK_AT_THE_FINISHED_STUDY = ("test_end_to_end", "test_planted_faults")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests of a file share what it makes, so they run in one process; as do all that look at the finished study.

    Marks (`--dist loadgroup`) would do, but pytest-xdist 3.8 sets them where pytest 9.2 no longer reads them.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return _group(Path(nodeid.partition("::")[0]))

    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    groups = {item: _group(item.path) for item in items}
    items.sort(key=lambda item: LONGEST.index(groups[item]) if groups[item] in LONGEST else len(LONGEST))


def _group(file):
    return "finished" if file.stem in LOOK_AT_THE_FINISHED_STUDY else file.stem


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="of randomised tests; another one draws other cases")
    parser.addoption("--cases", type=int, default=1, help="how many times as many cases randomised tests draw")


@pytest.fixture(scope="session")
def case(pytestconfig):
    """Maps the number of a case to its seed, so that `--seed` and `--cases` draw others and more."""
    seed, factor = (pytestconfig.getoption(name) for name in ("--seed", "--cases"))
    return lambda number: seed + number * factor
