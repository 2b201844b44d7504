"""A subject's brain, where GLMsingle's explained variance is above 0 -> anatomy."""

from fmri2img import job
from fmri2img.artifacts.anatomy import save_anatomy
from fmri2img.datasets import lockfile
from fmri2img.datasets.checksums import by_key
from fmri2img.datasets.laion_fmri.volumes import Regions, read_volume


def main(snakemake) -> None:
    given, params = snakemake.input, snakemake.params
    lockfile.verify_downloaded(by_key(params.root, [given.brain]))
    mask, brain = Regions(given.regions, params.root).mask(params.mask), read_volume(given.brain)
    mask.check_grid(brain.values.shape, brain.affine, brain.path)
    save_anatomy(snakemake.output[0], brain.values > 0)


if __name__ == "__main__":
    job.run(main)
