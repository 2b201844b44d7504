"""Known defects of MinD-Vis's released code, each with the switch that reproduces it."""

from fmri2img.methods.known_defects import Defect

KNOWN_DEFECTS = (
    Defect(
        "weights chosen on the test images",
        "mindvis.finetuning.select_on_test",
        "set",
        None,
        "Every few epochs the test images are drawn and scored, and the weights with the best score are kept, with the "
        "state of the random numbers that drew them: the score is the best of many on the test set.",
    ),
    Defect(
        "masked modelling of the test responses",
        "mindvis.finetuning.tune_on_test",
        "set",
        None,
        "Before stage B the encoder is tuned on the responses to the test images, averaged and single. It sees no test "
        "image, but the decoder is fitted to the very responses that it is tested on.",
    ),
    Defect(
        "sparse augmentation without effect",
        "mindvis.augmentation.zeroed_voxels",
        0.0,
        0.2,
        "Voxels to be set to 0 are chosen along the axis of samples, of which there is one, so none is chosen. The "
        "default is the released behaviour, because published results have it.",
    ),
    Defect(
        "positions copied to neighbouring patches",
        "mindvis.position_resizing",
        "nearest",
        "linear",
        "Where the subject has more patches than the pretraining, several patches get one position, and where it has "
        "fewer, positions are left out.",
    ),
)
