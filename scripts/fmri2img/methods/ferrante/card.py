"""The card of brain captioning: the defect of the original's code that a switch reproduces."""

import pandas as pd

NEITHER = "—"


def card(config: dict, published: bool, networks: list[dict]) -> dict:
    """See reporting.cards.card_of."""
    here = config["ferrante"]["calibration"]
    reproduced = {"test_batch": "yes", "training_images": "no"}.get(here, NEITHER)
    defect = {
        "name": "tokens standardised over the test images",
        "key": "ferrante.calibration",
        "released": "test_batch",
        "correct": "training_images",
        "here": here,
        "reproduced": reproduced,
        "effect": "Predicted tokens get the mean and spread of true training tokens by those of all test predictions, "
        "so a caption depends on the other test images. The disclosure then says transductive.",
    }
    return {"known_defects": pd.DataFrame([defect])}
