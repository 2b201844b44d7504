"""One cluster, and one study that runs on it from end to end; the faults happen in copies of its folder."""

import signal

import pytest
from cluster import Cluster, obstacle
from trial import Trial


def pytest_configure(config):
    if why := obstacle():
        pytest.exit(f"tests/slurm: not run: {why}", returncode=1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the cluster ends, with its jobs
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def study(cluster, tmp_path_factory):
    """The whole study, and the exit status of its run."""
    trial = Trial(tmp_path_factory.mktemp("study"), cluster)
    return trial, trial.run()
