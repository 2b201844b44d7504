"""Loading of the networks that metrics ask for by the name of their registry entry."""

import tempfile
from functools import cache
from pathlib import Path

from fmri2img.backbones.features import FeatureNetwork, load_features
from fmri2img.backbones.perceptual import PerceptualDistance, load_perceptual
from fmri2img.backbones.registry import Backbone
from fmri2img.backbones.texts import load_text_encoder, wordnet_folder


class RegisteredNetworks:
    """records: entries of config/backbones.yaml by name; only those that are asked for are loaded.

    Sentence encoders and WordNet serve several metrics and are kept; the others are used once each.
    """

    def __init__(self, records: dict[str, dict]) -> None:
        self.records = records
        self.texts, self.wordnet = cache(self._texts), cache(self._wordnet)
        self._unpacked = tempfile.TemporaryDirectory()

    def features(self, name: str, layers: list[str]) -> FeatureNetwork:
        return load_features(Backbone(name, self.records[name]), layers)

    def perceptual(self, name: str) -> PerceptualDistance:
        return load_perceptual(Backbone(name, self.records[name]))

    def _texts(self, name: str):
        return load_text_encoder(Backbone(name, self.records[name]))

    def _wordnet(self, name: str) -> str:
        return wordnet_folder(Backbone(name, self.records[name]), Path(self._unpacked.name))
