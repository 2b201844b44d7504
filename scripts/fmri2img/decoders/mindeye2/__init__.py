"""MindEye2 (Scotti et al., ICML 2024, arXiv 2403.11207): one network for many subjects' betas.

    betas of a subject --adapter--> hidden --backbone--> image tokens --+--> diffusion prior -> tokens for the generator
                                      |                                 +--> projector -> tokens for retrieval
                                      +--> low-level head -> autoencoder latents of a blurry picture
"""
