"""Known defects of MindEye2's released code, each with the switch that reproduces it.

Defaults are the correct values, except for the encoder of the paper's study: the released unCLIP network and caption
converter were trained with tokens of washed-out images.
"""

from fmri2img.methods.known_defects import Defect

KNOWN_DEFECTS = (
    Defect(
        "permutations of several subjects without offsets",
        "mindeye2.losses.permutation_offsets",
        False,
        True,
        "In pretraining, the labels of mixed trials of all subjects but the first point at images of the first "
        "subject's trials, which are wrong ones.",
    ),
    Defect(
        "fixed points of a permutation overwrite the diagonal",
        "mindeye2.losses.fixed_points",
        "overwritten",
        "summed",
        "A trial that is mixed with itself is labelled with 1 - share of its image instead of all of it; one that is "
        "not mixed has no label at all and drops out of the loss. About one trial per subject and batch.",
    ),
    Defect(
        "negatives of one process",
        "mindeye2.losses.negatives",
        "local",
        "gathered",
        "Contrastive losses compare trials within each process, so the same global batch gives another loss on another "
        "number of GPUs.",
    ),
    Defect(
        "learning-rate schedule stepped once per process",
        "mindeye2.{pretraining,finetuning}.training.schedule_stepping",
        "per_process",
        "optimiser",
        "On N GPUs the schedule ends after 1/N of the training; on 8, the rest from epoch 19 of 150 runs at a learning "
        "rate of about 1e-8.",
    ),
    Defect(
        "images in 0..1 for an encoder that expects -1..1",
        "encoder",
        "openclip_bigg",
        "openclip_bigg_symmetric",
        "The encoder sees values from 0.5 to 1, washed-out images, in training, retrieval and generation alike. Needed "
        "with the released unCLIP network.",
    ),
    Defect(
        "adapter bias inherited in fine-tuning",
        "mindeye2.finetuning.inherit_adapter_bias",
        True,
        False,
        "The target subject's adapter starts with a fresh weight, but with the bias of the first pretraining subject.",
    ),
    Defect(
        "normalisation statistics of all sessions",
        "nsd.betas.normalise",
        "pooled",
        "session",
        "Betas are z-scored with mean and deviation over the training trials of all sessions, also those that a "
        "one-hour model is not supposed to have seen.",
    ),
)
