"""Recipes of the demo's frozen networks: small networks of the paper's classes, trained on drawn scenes."""
