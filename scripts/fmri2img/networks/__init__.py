"""Parts of brain decoders that several trained methods share: the diffusion prior, losses, MixCo, the upsampler."""
