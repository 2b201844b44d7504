"""The authors' lists of one split, of each subject or of all -> the study's split."""

from fmri2img import job
from fmri2img.datasets import lockfile
from fmri2img.datasets.checksums import by_key
from fmri2img.datasets.laion_fmri.embeddings import read_names
from fmri2img.datasets.laion_fmri.splits import read_split, split_of


def main(snakemake) -> None:
    given, params, name = snakemake.input, snakemake.params, snakemake.wildcards.split
    lockfile.verify_downloaded(by_key(params.root, [*given.lists, given.names]))
    image_ids = {one: number for number, one in enumerate(read_names(given.names))}
    pools = {
        pool: read_split(path, pool, name, params.published)
        for pool, path in zip(params.pools, given.lists, strict=True)
    }
    split = split_of(name, pools, image_ids, params.pool)
    split.save(snakemake.output[0])
    for subject, own in split.subjects.items() or {"all subjects": split}.items():
        print(f"{subject}: {len(own.test_ids)} test images, {len(own.unused_ids)} unused, {own.sha256}")


if __name__ == "__main__":
    job.run(main)
