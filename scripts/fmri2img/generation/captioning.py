"""Captions of decoded image tokens, by the captioner that takes them."""

from fmri2img.backbones.captioners import load_captioner
from fmri2img.generation.drawing import Drawing, Drawn


def draw(drawing: Drawing) -> Drawn:
    """The pipeline. Raises UserError if the decoder has no tokens, or not as many as the captioner takes."""
    backbone = drawing.networks["captioner"]
    captions = load_captioner(backbone).caption(drawing.array("tokens"), backbone.record["max_length"])
    for image_id, text in list(zip(drawing.ids, captions, strict=True))[:5]:
        print(f"image_id {image_id}: {text}")
    return Drawn(drawing.disclosure("captioner"), captions=captions)
