"""Brain-Diffuser's part of the method card: the defects of its released code, each with the switch that reproduces it.

Its region analysis has others (regions.py). A regression script that lacks an import stops after its predictions are
saved, and the evaluation takes exactly 982 images; neither changes a score.
"""

from fmri2img.methods.known_defects import Defect, defects_table

KNOWN_DEFECTS = (
    Defect(
        "predictions scaled by the other test images",
        "brain_diffuser.calibration",
        "test_batch",
        "training_images",
        "Every predicted value is standardised with mean and deviation of the predictions for all test images, so that "
        "a picture depends on which other images are tested, and one image alone cannot be decoded.",
    ),
    Defect(
        "first picture noised for an earlier step",
        "brain_diffuser.generation.early_noise",
        True,
        False,
        "Of 50 steps the last 37 run, but the first picture has the noise that the 38th from the end expects: a slip "
        "of the samplers that the code is built on.",
    ),
)


def card(config: dict, published: bool, networks: list[dict]) -> dict:
    """See reporting.cards.card_of."""
    return {"known_defects": defects_table(KNOWN_DEFECTS, "brain_diffuser", config, published)}
