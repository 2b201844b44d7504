"""Which networks of a method were trained on the collections of pictures that its test images come from.

A network that was trained on a test image may draw or describe it from memory, so a score on such images does not say
alone how well a brain was decoded. What networks were trained on is in config/backbones.yaml (`training_data`), what a
dataset's pictures are part of in its dataset.yaml (`image_sources`).
"""

UNPUBLISHED = "unpublished"  # entry of `training_data`: some of these pictures are not known
ENCODER, GENERATOR, CAPTIONER = "encoder", "generator", "captioner"


def networks_of(study, method: str) -> dict[str, list[str]]:
    """Role -> frozen networks behind a method's own output: ENCODER (whose outputs are decoded), GENERATOR, CAPTIONER.

    study: a `fmri2img.study.Study`. An ablation has only the networks that it uses. Submissions have none: what they
    were made with is in their disclosure alone.
    """
    entry, backbones = study.registries["methods"][method], study.registries["backbones"]
    drawing = study.drawing(method) if "drawing" in entry else {}
    found = {GENERATOR: list(drawing.get("networks", {}).values())}
    decoder = entry.get("decoder")
    if decoder in study.decoders and "decoded" in drawing.get("inputs", ["decoded"]):
        found[ENCODER] = [name for path in _targets(study, decoder, drawing) for name in path.split("/")]
    if "captions" in drawing.get("inputs", []):
        found[CAPTIONER] = [study.config["captioner"], study.registered_converter]
    named = {role: [name for name in dict.fromkeys(names) if name in backbones] for role, names in found.items()}
    return {role: named[role] for role in (ENCODER, GENERATOR, CAPTIONER) if named.get(role)}


def _targets(study, decoder: str, drawing: dict) -> list[str]:
    """Paths of the Embeddings whose values a decoder estimates, of those alone that are drawn from."""
    if "linear" not in study.decoders[decoder]:
        return list(study.targets(decoder).values())
    drawn = drawing.get("arrays", {}).values()
    return [found["target"] for found in study.regressions(decoder) if not drawn or found["array"] in drawn]


def all_networks(study, method: str) -> list[str]:
    """Networks behind a method's output, and behind what it is made from: another stage, or the method it controls."""
    registry = study.registries["methods"]
    entry, found = registry[method], [name for names in networks_of(study, method).values() for name in names]
    for other in entry.get("takes", {}).values():
        found += all_networks(study, other)
    made_of = entry.get("made_by", {}).get("of")
    if made_of == "decoded":
        found += networks_of(study, entry["of"]).get(ENCODER, [])
    elif made_of is not None:
        found += all_networks(study, entry["of"])
    return list(dict.fromkeys(found))


def trained_on(study, method: str, collections: list[str]) -> tuple[list[str], list[str]]:
    """Networks behind a method that were trained on one of these collections, and those of which it is unpublished."""
    entries, networks = study.registries["backbones"], all_networks(study, method)
    known = {name: entries[name].get("training_data", [UNPUBLISHED]) for name in networks}
    seen = [name for name in networks if set(collections) & set(known[name])]
    return seen, [name for name in networks if name not in seen and UNPUBLISHED in known[name]]
