"""What the headers of a user's files say before the first job: whose betas they are, and how many."""

from typing import Any

from fmri2img.datasets.mosaic import layout
from fmri2img.datasets.mosaic.betas import open_subject
from fmri2img.datasets.mosaic.dataset import Dataset
from fmri2img.datasets.mosaic.parcels import read_parcels


def check_files(dataset: Dataset, study: Any) -> None:
    """The files that are there are of their subjects, and fit the parcellation. Raises UserError."""
    parcels = dataset.file(layout.PARCELS)
    found = [subject for subject in study.recorded if dataset.betas(subject).is_file()]
    if dataset.simulated or not found or not parcels.is_file():
        return
    grayordinates = len(read_parcels(parcels).areas)
    for subject in found:
        with open_subject(dataset.betas(subject), subject, grayordinates) as file:
            file.check_length()
