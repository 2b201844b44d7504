"""Chance levels that depend on how many images are tested."""

import pandas as pd


def pool_chances(scores: pd.DataFrame, registry: dict[str, dict], pool: int) -> dict[str, float]:
    """Chance levels that the registry gives as `1/pool`, the mean over subjects of 1 / min(pool, test images), or as
    `1/images`, the mean of 1 / test images; of the metrics that have scores."""
    chances, largest = {}, {"1/pool": pool, "1/images": None}
    for name, entry in registry.items():
        n_images = scores[scores["metric"] == name].groupby("subject")["image_id"].nunique()
        if entry["chance"] in largest and len(n_images):
            chances[name] = float((1 / n_images.clip(upper=largest[entry["chance"]])).mean())
    return chances
