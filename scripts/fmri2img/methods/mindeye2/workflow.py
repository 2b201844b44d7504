"""Inputs and settings of MindEye2's training, for the rules."""


def training_inputs(study) -> dict[str, str | list[str] | None]:
    """Setting of MindEye2Task -> artifacts: token targets, and of the low-level head latents and a teacher's features,
    of the images as they are (view 0) and of each augmented copy."""
    found = {"embeddings": f"<results>/embeddings/{study.config['encoder']}"}
    low_level = study.config["mindeye2"]["low_level"]
    if low_level:
        views = range(low_level["augmentations"] + 1)
        found["latents"] = f"<results>/latents/{low_level['autoencoder']}/{low_level['image_size']}px"
        found["local_features"] = [f"<results>/local_features/{low_level['teacher']}/view{n}" for n in views]
    return found


def target_bytes(study, images: int) -> int:
    """Bytes of the artifacts that it is trained on besides the encoder's tokens, for this number of images."""
    low_level = study.config["mindeye2"]["low_level"]
    if not low_level:
        return 0
    teacher = study.records["backbones"][low_level["teacher"]]
    return images * 2 * teacher["tokens"] * teacher["token_width"] * (low_level["augmentations"] + 1)


def network_bytes(study) -> int:
    """Bytes of one trained network: float32, of which the layer that makes tokens is four fifths."""
    encoder = study.records["backbones"][study.config["encoder"]]
    return 5 * study.config["mindeye2"]["model"]["hidden"] * encoder["tokens"] * encoder["token_width"]


def training_settings(study, entry: dict, stage: str, initial: str | None) -> dict:
    """Settings of MindEye2Task besides recordings, sessions, targets and initial weights."""
    section, encoder = study.config["mindeye2"], study.records["backbones"][study.config["encoder"]]
    model = section["model"] | entry["training"]["settings"]
    model |= {"tokens": encoder["tokens"], "token_width": encoder["token_width"]}
    if section["low_level"]:
        model["low_level"] = section["low_level"]["head"]
    inherits = stage == "finetuning" and initial is not None and section[stage]["inherit_adapter_bias"]
    return {
        "model": model,
        "losses": section["losses"],
        "inherit_adapter_bias": inherits,
        "adapter_start": section[stage]["adapter_start"] if stage == "finetuning" else "random",
        "validation_share": section["validation_share"],
    }
