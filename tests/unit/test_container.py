"""How a job's record names the container image that the job ran in."""

import pytest

from fmri2img.container import image


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"FMRI2IMG_IMAGE": "sha256:ab"}, "sha256:ab"),
        ({"FMRI2IMG_IMAGE": "sha256:ab", "APPTAINER_CONTAINER": "/scratch/a.sif"}, "sha256:ab (/scratch/a.sif)"),
        ({"APPTAINER_CONTAINER": "/scratch/other.sif"}, "/scratch/other.sif"),
        ({"PATH": "/usr/bin"}, None),
    ],
)
def test_an_image_is_named_by_its_recipe_and_its_file(environment, named):
    assert image(environment) == named
