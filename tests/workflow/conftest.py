"""The finished study that several tests look at, and leave as it is."""

import pytest
import yaml
from small_study import SMALL, snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder in which a small study has run to its end."""
    directory = tmp_path_factory.mktemp("study")
    (directory / "small.yaml").write_text(yaml.safe_dump(SMALL))
    snakemake(directory)
    return directory
