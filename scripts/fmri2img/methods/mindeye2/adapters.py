"""Subject adapters: from a subject's voxels to the latent space that all subjects share.

Voxels differ in number and meaning between subjects, so each subject has a linear map with bias of his own. The paper
calls it ridge regression, since weight decay acts on it (weight and bias) in training.
"""

import torch
from torch import Tensor, nn


class SubjectAdapters(nn.ModuleDict):
    """One linear map per subject, by the subject's name."""

    def __init__(self, voxels: dict[str, int], hidden: int):
        """voxels: subject -> number of voxels."""
        super().__init__({subject: nn.Linear(n, hidden) for subject, n in voxels.items()})

    def forward(self, betas: dict[str, Tensor]) -> Tensor:
        """Latents (trials, hidden) of betas (trials, voxels) of each subject, in the dictionary's order."""
        return torch.cat([self[subject](values) for subject, values in betas.items()])
