"""Options of the tests that draw their cases at random."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="of randomised tests; another one draws other cases")
    parser.addoption("--cases", type=int, default=1, help="how many times as many cases randomised tests draw")


@pytest.fixture(scope="session")
def case(pytestconfig):
    """Maps the number of a case to its seed, so that `--seed` and `--cases` draw others and more."""
    seed, factor = (pytestconfig.getoption(name) for name in ("--seed", "--cases"))
    return lambda number: seed + number * factor
