"""Which process runs a test, and the options of those that draw their cases at random."""

import pytest


def pytest_collection_modifyitems(items):
    """Tests of a file share what it makes, so they run in one process; as do all that look at the finished study."""
    for item in items:
        group = "finished" if "finished" in item.fixturenames else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="of randomised tests; another one draws other cases")
    parser.addoption("--cases", type=int, default=1, help="how many times as many cases randomised tests draw")


@pytest.fixture(scope="session")
def case(pytestconfig):
    """Maps the number of a case to its seed, so that `--seed` and `--cases` draw others and more."""
    seed, factor = (pytestconfig.getoption(name) for name in ("--seed", "--cases"))
    return lambda number: seed + number * factor
