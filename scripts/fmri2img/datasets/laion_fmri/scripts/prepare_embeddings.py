"""Public embeddings of one model, for the images of the study -> Embeddings."""

from fmri2img import job
from fmri2img.artifacts.embeddings import save_vectors
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.datasets import lockfile
from fmri2img.datasets.checksums import by_key, checksums
from fmri2img.datasets.laion_fmri.embeddings import read_embeddings


def main(snakemake) -> None:
    given, params = snakemake.input, snakemake.params
    files = by_key(params.root, [given.embeddings])
    lockfile.verify_downloaded(files)
    stimuli = Stimuli.open(given.stimuli)
    vectors = read_embeddings(given.embeddings, stimuli.table["name"].tolist())
    ((_, revision),) = checksums(files).items()
    metadata = {"encoder": snakemake.wildcards.brought, "revision": revision, "trained_on": params.trained_on}
    save_vectors(snakemake.output[0], stimuli.ids, vectors, metadata)
    print(f"{vectors.shape[0]} images, {vectors.shape[1]} wide")


if __name__ == "__main__":
    job.run(main)
