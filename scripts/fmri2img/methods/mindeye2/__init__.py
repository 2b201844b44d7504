"""MindEye2 (Scotti et al., ICML 2024, arXiv 2403.11207): one network for many subjects' betas.

A subject's betas go through an adapter of their own to a latent that all subjects share. The backbone makes image
tokens of it, from which the diffusion prior draws tokens for the generator and the projector makes tokens for
retrieval. The low-level head makes autoencoder latents of a blurry picture from the latent.
"""
