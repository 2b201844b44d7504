"""Which process runs a test, and the options of those that draw their cases at random."""

import pytest

# What takes longest begins first, so that no process works alone at the end; the rest follows in the files' order.
LONGEST = (
    "test_method_folders", "finished", "test_conda", "test_failures", "test_training_faults", "test_dag",
    "test_what_reruns", "test_other_datasets", "test_adding_a_method", "test_adding_a_dataset", "test_acquired_tree",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Tests of a file share what it makes, so they run in one process; as do all that look at the finished study."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: LONGEST.index(_group(item)) if _group(item) in LONGEST else len(LONGEST))


def _group(item):
    return "finished" if "finished" in item.fixturenames else item.path.stem


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="of randomised tests; another one draws other cases")
    parser.addoption("--cases", type=int, default=1, help="how many times as many cases randomised tests draw")


@pytest.fixture(scope="session")
def case(pytestconfig):
    """Maps the number of a case to its seed, so that `--seed` and `--cases` draw others and more."""
    seed, factor = (pytestconfig.getoption(name) for name in ("--seed", "--cases"))
    return lambda number: seed + number * factor
