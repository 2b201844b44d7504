"""Load networks that metrics name by their registry entry."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from fmri2img.backbones.features import FeatureNetwork, load_features
from fmri2img.backbones.perceptual import PerceptualDistance, load_perceptual
from fmri2img.backbones.registry import Backbone
from fmri2img.backbones.texts import load_text_encoder, wordnet_folder


class RegisteredNetworks:
    """Networks, loaded when they are first requested.

    records: name -> entry of config/backbones.yaml; antialias: as in `load_features`.
    """

    def __init__(self, records: dict[str, dict], antialias: bool = True) -> None:
        self.records, self.antialias = records, antialias
        self._kept = cache(self._features)
        self.perceptual, self.texts, self.wordnet = map(cache, (self._perceptual, self._texts, self._wordnet))

    def features(self, name: str, layers: list[str]) -> FeatureNetwork:
        return self._kept(name, *layers)

    def _features(self, name: str, *layers: str) -> FeatureNetwork:
        return load_features(Backbone(name, self.records[name]), list(layers), antialias=self.antialias)

    def _perceptual(self, name: str) -> PerceptualDistance:
        return load_perceptual(Backbone(name, self.records[name]))

    def _texts(self, name: str):
        return load_text_encoder(Backbone(name, self.records[name]))

    def _wordnet(self, name: str) -> str:
        unpacked = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, unpacked, ignore_errors=True)
        return wordnet_folder(Backbone(name, self.records[name]), Path(unpacked))
