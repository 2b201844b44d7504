"""Known defects of MindEye1's released code, each with the switch that reproduces it. Defaults are correct."""

from fmri2img.methods.known_defects import Defect

KNOWN_DEFECTS = (
    Defect(
        "blurry picture normalised for CLIP",
        "mindeye1.generation.start_pixels",
        "clip",
        "symmetric",
        "The autoencoder encodes the blurry picture after a normalisation with CLIP's mean and deviation, in about "
        "-1.8..2.2 instead of -1..1, so that generation starts from a picture with too much contrast.",
    ),
    Defect(
        "fixed points of a permutation overwrite the diagonal",
        "mindeye1.losses.fixed_points",
        "overwritten",
        "summed",
        "A trial that is mixed with itself is labelled with 1 - share of its image instead of all of it; one that is "
        "not mixed has no label at all and drops out of the loss. About one trial per batch.",
    ),
    Defect(
        "normalisation statistics of all sessions",
        "nsd.betas.normalise",
        "pooled",
        "session",
        "Betas are z-scored over all sessions, also those that a model of few sessions is not supposed to have seen.",
    ),
)
