"""Inputs and settings of MindEye1's training and decoding, for the rules."""


def training_inputs(study) -> dict[str, str | list[str] | None]:
    """Setting of MindEye1Task -> artifacts: token targets (of augmented views too, where they are configured), and of
    the low-level network latents and a teacher's features, of the images as they are (view 0) and of each augmented
    copy."""
    section = study.config["mindeye1"]
    views = range(1, section["image_views"] + 1)
    found: dict[str, str | list[str] | None] = {
        "embeddings": f"<results>/embeddings/{section['encoder']}",
        "image_views": [f"<results>/image_views/{section['encoder']}/view{n}" for n in views],
    }
    low_level = section["low_level"]
    if low_level:
        copies = range(low_level["augmentations"] + 1)
        found["latents"] = f"<results>/latents/{low_level['autoencoder']}/{low_level['image_size']}px"
        found["local_features"] = [f"<results>/local_features/{low_level['teacher']}/view{n}" for n in copies]
    return found


def decoding_inputs(study) -> dict[str, str]:
    """The Embeddings that are decoded, by name."""
    encoder = study.config["mindeye1"]["encoder"]
    return {encoder: f"<results>/embeddings/{encoder}"}


def training_settings(study, entry: dict, stage: str, initial: str | None) -> dict:
    """Settings of MindEye1Task besides recordings, sessions and targets."""
    section = study.config["mindeye1"]
    return {key: section[key] for key in ("model", "losses", "low_level", "validation_share")} | entry["training"][
        "settings"
    ]


def target_bytes(study, images: int) -> int:
    """Bytes of the artifacts that it is trained on besides the encoder's tokens, for this number of images."""
    section, backbones = study.config["mindeye1"], study.records["backbones"]
    encoder, low_level = backbones[section["encoder"]], section["low_level"]
    values = section["image_views"] * encoder["tokens"] * encoder["token_width"]
    if low_level:
        teacher = backbones[low_level["teacher"]]
        values += teacher["tokens"] * teacher["token_width"] * (low_level["augmentations"] + 1)
    return 2 * images * values


def network_bytes(study) -> int:
    """Bytes of the trained networks: float32, of which the layer that makes tokens is four fifths."""
    section = study.config["mindeye1"]
    encoder = study.records["backbones"][section["encoder"]]
    return 5 * section["model"]["hidden"] * encoder["tokens"] * encoder["token_width"]
