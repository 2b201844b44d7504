"""The container image in which a job runs, as its record names it."""

import os
from collections.abc import Mapping

RECIPE = "FMRI2IMG_IMAGE"  # set in images that envs/Dockerfile and envs/apptainer.def build


def image(environment: Mapping[str, str] = os.environ) -> str | None:
    """Digest of the recipe of the image that this process runs in, and the file of the image where Apptainer names it.

    The digest is over envs/requirements.lock and the commands that install it: equal digests mean equal packages. An
    image that was built otherwise is named by its file alone. None outside a container.
    """
    recipe, file = environment.get(RECIPE), environment.get("APPTAINER_CONTAINER")
    if recipe and file:
        return f"{recipe} ({file})"
    return recipe or file
