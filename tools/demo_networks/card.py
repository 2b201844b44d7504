"""The card of a trained network: what it was trained on, how, and how faithful it is."""

import importlib.metadata
import json
import platform
from pathlib import Path

import torch

from demo_networks.bank import DEVELOPMENT_STREAM, FINAL_STREAM, TRAINING_STREAM
from fmri2img.artifacts.atomic import atomic_file

TITLES = {
    "clip": "Image-text model (open_clip CLIP)",
    "vae": "Image autoencoder (diffusers AutoencoderKL)",
    "vdvae": "Very deep VAE (latents of rising resolution)",
    "unclip": "unCLIP generator (diffusers UNet2DConditionModel on image tokens)",
    "text2img": "Text-to-image generator (diffusers UNet2DConditionModel on text tokens)",
    "joint2img": "Generator under one joint vector (diffusers UNet2DConditionModel)",
    "captioner": "Captioner (transformers GitForCausalLM on image tokens)",
}
LIBRARIES = ("torch", "diffusers", "open_clip_torch", "transformers", "numpy", "pillow")


def processor() -> str:
    """Model name of the CPU, as Linux tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def unseen_seeds() -> dict[str, str]:
    """Which scenes decisions were made on, and which the table alone was measured on."""
    return {
        "development_seeds": f"numpy.random.default_rng(({DEVELOPMENT_STREAM}, i)), i from 0",
        "final_seeds": f"numpy.random.default_rng(({FINAL_STREAM}, i)), i from 0",
    }


def write_card(
    folder: Path, name: str, recipe: dict, bank: dict, result: dict, fidelity: dict, command: str, device
) -> None:
    """Write card.json and CARD.md into `folder`.

    `result` holds parameters and seconds, and may hold `notes`, a list of sentences on the interface. `fidelity` was
    measured on scenes of the final stream.
    """
    hardware = torch.cuda.get_device_name() if device.type == "cuda" else processor()
    files = {p.name: p.stat().st_size for p in sorted(folder.rglob("*.safetensors"))}
    card = {
        "network": name,
        "title": TITLES[name],
        "data": {
            "what": "drawn scenes, 64 x 64 RGB, five captions each (fmri2img/datasets/scenes.py)",
            "bank": bank,
            "training_seeds": f"numpy.random.default_rng(({TRAINING_STREAM}, i)), i = 0 to {bank['scenes'] - 1}",
            **unseen_seeds(),
        },
        "recipe": recipe,
        "parameters": result["parameters"],
        "weights_bytes": files,
        "training": {
            "seconds": round(result["seconds"]),
            "hardware": hardware,
            "threads": torch.get_num_threads(),
            "command": command,
        },
        "libraries": {package: importlib.metadata.version(package) for package in LIBRARIES},
        "fidelity": fidelity,
        "notes": result.get("notes", []),
        "licence": "MIT, as the project; trained on pictures that the project draws itself",
    }
    store(folder, card)


def rewrite_fidelity(folder: Path, fidelity: dict, notes: list[str] | None = None) -> None:
    """Put `fidelity`, measured on the final stream, into the card of a network that is not retrained.

    notes: replacement for the card's notes, which otherwise stay.
    """
    card = json.loads((folder / "card.json").read_text())
    seeds = {key: value for key, value in card["data"].items() if key != "unseen_seeds"}
    card |= {"data": seeds | unseen_seeds(), "fidelity": fidelity}
    if notes:
        card["notes"] = notes
    store(folder, card)


def store(folder: Path, card: dict) -> None:
    for name, text in (("card.json", json.dumps(card, indent=1) + "\n"), ("CARD.md", as_markdown(card))):
        with atomic_file(folder / name) as part:
            part.write_text(text)


def as_markdown(card: dict) -> str:
    data, training = card["data"], card["training"]
    lines = [
        f"# {card['title']}",
        "",
        f"{card['parameters'] / 1e6:.2f} million parameters; one of the frozen networks of the demo study.",
        "",
        "## Fidelity on unseen scenes",
        "",
        "| measure | value |",
        "|---|---|",
        *(f"| {key} | {value:.4g} |" for key, value in card["fidelity"].items()),
        "",
        "## Data",
        "",
        f"{data['what'][0].upper()}{data['what'][1:]}. Training: {data['training_seeds']}. "
        f"Decisions during development: {data['development_seeds']}. The table, measured after them and used for "
        f"nothing else: {data['final_seeds']}. Photographs were never used: the network knows drawn scenes only.",
        "",
        "## Recipe",
        "",
        f"`{training['command']}`, {training['seconds']} s of training on {training['hardware']}, "
        f"{training['threads']} thread(s).",
        "",
        "```json",
        json.dumps(card["recipe"], indent=1),
        "```",
        "",
        "Libraries: " + ", ".join(f"{name} {version}" for name, version in card["libraries"].items()) + ".",
        "",
    ]
    if card["notes"]:
        lines += ["## Notes", "", *(f"- {note}" for note in card["notes"]), ""]
    return "\n".join([*lines, f"Licence: {card['licence']}."]) + "\n"
