"""One cluster, and one study that runs on it from end to end; the faults happen in copies of its folder."""

import pytest
from cluster import Cluster, obstacle
from trial import Trial


def pytest_configure(config):
    if why := obstacle():
        pytest.exit(f"tests/slurm: not run: {why}", returncode=1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def study(cluster, tmp_path_factory):
    """The whole study, and the exit status of its run."""
    trial = Trial(tmp_path_factory.mktemp("study"), cluster)
    return trial, trial.run()


@pytest.fixture
def copied(study, tmp_path):
    """A function that makes a copy of the finished study, with other settings of the sleeper."""

    def copy(name="copy", site=None, training=None, nodes=1, **sleeper):
        finetuning = {"nodes": nodes, "training": {"epochs": 2, "batch": 8, "log_every": 1} | (training or {})}
        return study[0].copy(tmp_path / name, site, sleeper=sleeper | {"finetuning": finetuning})

    return copy
