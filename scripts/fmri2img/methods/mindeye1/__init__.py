"""MindEye1 (Scotti et al., NeurIPS 2023, arXiv 2305.18274): two networks of one subject's betas.

The high-level network makes image tokens, from which a diffusion prior draws tokens for the generator and a projector
makes tokens for retrieval. The low-level network, which shares nothing with it, makes autoencoder latents of a blurry
picture, from which the generator starts.
"""
