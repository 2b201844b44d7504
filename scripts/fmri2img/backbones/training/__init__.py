"""Recipes of the demo's frozen networks: the classes of the paper, trained from nothing on drawn scenes."""
