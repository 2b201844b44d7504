"""Benchmark of fMRI-to-image decoding: eight rooms, each importing only the rooms before it.

datasets, artifacts, backbones, decoders, generation, metrics, stats, reporting.
"""
