"""Augmented copies of images, whose tokens MindEye1's high-level network is trained on."""

import numpy as np
import torch

from fmri2img.backbones.pixels import to_unit

STREAM = 1  # of random numbers: those of the teacher's views have none


def augmented(images: np.ndarray, ids: np.ndarray, view: int) -> np.ndarray:
    """Augmented copies of images (n, size, size, 3), float32 of the same shape, in 0..1.

    A square of six tenths of the area or more with probability .3, mirrored with .5, colour jitter (brightness and
    contrast 0.4, saturation 0.2, hue 0.1) with .3, grey with .3. The responses are those to the image as it is, also
    where it is mirrored. The released code redraws the copies at each step; here each image has a fixed number of
    views, which depend only on its image_id and the number of the view.
    """
    from torchvision.transforms import v2

    augmentation = v2.Compose(
        [
            v2.RandomApply([v2.RandomResizedCrop(images.shape[1], scale=(0.6, 1.0), antialias=True)], p=0.3),
            v2.RandomHorizontalFlip(p=0.5),
            v2.RandomApply([v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)], p=0.3),
            v2.RandomGrayscale(p=0.3),
        ]
    )
    copies = []
    with torch.random.fork_rng(devices=[]):
        for image, image_id in zip(to_unit(images), ids, strict=True):
            torch.manual_seed(int(np.random.SeedSequence([int(image_id), view, STREAM]).generate_state(1)[0]))
            copies.append(augmentation(image).clamp(0, 1))
    return torch.stack(copies).permute(0, 2, 3, 1).numpy()
