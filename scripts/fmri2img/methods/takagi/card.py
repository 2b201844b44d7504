"""Takagi & Nishimoto's part of the method card: what the released code does otherwise, and how to do it here."""

import pandas as pd

from fmri2img.methods.known_defects import Defect, defects_table

RELEASED_PENALTIES = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0]
PENALTIES = (
    "For about 25,000 trials of standardised voxels the largest of these penalties is the best of the list: the fit of "
    "z and c is almost without a penalty."
)
KNOWN_DEFECTS = (
    Defect(
        "predictions are not calibrated",
        "takagi.calibration",
        "none",
        "training_images",
        "Predictions have the shrunken spread of a regression, so decoded states of captions are all near their mean.",
    ),
    Defect(
        "noise of one step more than denoising removes",
        "takagi.generation.one_step_noisier",
        True,
        False,
        "The picture of z is noised to the level of step 41 from the end and denoised from step 40: latent-diffusion's "
        "own image-to-image script counts so. A little noise stays in the picture.",
    ),
    Defect(
        "pictures without the captioner's normalisation",
        "takagi.caption_tokens",
        "blip_base_unnormalised",
        "blip_base",
        "The technical report's script gives BLIP pixels in 0..1, without mean and deviation of its training, when it "
        "computes the image tokens that are decoded.",
    ),
)
DEVIATIONS = {
    "betas": "z-scored within sessions, as all methods here get them, and not over all training trials.",
    "folds": "Trials of one image are in one fold; the released code divides trials.",
    "pictures of z": (
        "Resized in floating point with antialiasing; the released code rounds to bytes and resizes with Pillow."
    ),
    "samples": (
        "Drawn for each seed of the study; scores are means over samples and seeds. Figures of the paper show the "
        "sample, of five, that is most similar to the true picture, which no score uses and is not done here."
    ),
    "captioner": (
        "BLIP's weights that transformers reads are fine-tuned on COCO captions; the technical report uses the weights "
        "before that (model_base_capfilt_large)."
    ),
    "identification": (
        "Scores here fix a reconstruction and compare it with other true images. The released evaluation "
        "fixes the true image and compares it with reconstructions of other images, which favours varied pictures; its "
        "percentages are not those of this table."
    ),
    "not ported": "The technical report's variants with decoded depth and with a GAN's picture in place of z's.",
}


def card(config: dict, published: bool, networks: list[dict]) -> dict:
    """See reporting.cards.card_of."""
    defects = defects_table(KNOWN_DEFECTS, "takagi", config)
    return {"deviations": DEVIATIONS, "known_defects": pd.concat([_penalties(config), defects], ignore_index=True)}


def _penalties(config: dict) -> pd.DataFrame:
    """The row of the list of penalties: any list that ends above the released one is a correct one."""
    here = config["takagi"]["alphas"]
    row = {
        "name": "list of penalties that ends too early",
        "key": "takagi.alphas",
        "released": _listed(RELEASED_PENALTIES),
        "correct": "a list with larger ones",
        "here": _listed(here),
        "reproduced": "yes" if max(here) <= max(RELEASED_PENALTIES) else "no",
        "effect": PENALTIES,
    }
    return pd.DataFrame([row])


def _listed(penalties: list[float]) -> str:
    return ", ".join(f"{penalty:g}" for penalty in penalties)
