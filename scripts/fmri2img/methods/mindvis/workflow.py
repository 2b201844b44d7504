"""Inputs and settings of MinD-Vis's training, for the rules."""

from fmri2img.backbones.registry import Backbone


def training_inputs(study) -> dict[str, str | list[str] | None]:
    """Setting of the tasks -> artifacts: the images, and the files of generator and autoencoder."""
    section, backbones = study.config["mindvis"], study.records["backbones"]
    files = [
        path
        for key in ("generator", "autoencoder")
        for path in Backbone(section[key], backbones[section[key]]).inputs()
    ]
    return {"stimuli": "<results>/stimuli", "network_files": list(dict.fromkeys(files))}


def decoding_inputs(study) -> dict[str, str]:
    """None: what it decodes are latents, which it draws itself."""
    return {}


def target_bytes(study, images: int) -> int:
    """None: images are encoded while it trains."""
    return 0


def network_bytes(study) -> int:
    """Bytes of one trained network: float32, mostly the encoder's blocks, and the map of patches (of some 300)."""
    model = study.config["mindvis"]["model"]
    return 4 * (model["depth"] * int((4 + 2 * model["mlp_ratio"]) * model["width"] ** 2) + 20_000_000)


def training_settings(study, entry: dict, stage: str, initial: str | None) -> dict:
    """Settings of the stage's task besides recordings, sessions, inputs and initial weights."""
    section, backbones = study.config["mindvis"], study.records["backbones"]
    found = {key: section[key] for key in ("model", "augmentation", "validation_share")}
    if stage == "pretraining":
        return found
    own = section["finetuning"]
    for key in ("generator", "autoencoder"):
        found[key] = [section[key], backbones[section[key]]]
    found |= {key: section[key] for key in ("time_condition", "position_resizing", "context_spread")}
    found |= {key: own[key] for key in ("tune_on_test", "select_on_test")}
    if own["select_on_test"]:
        name = own["select_on_test"]["classifier"]
        found["classifier"] = [name, backbones[name]]
    return found | {"steps": section["decoding"]["steps"]}
