"""The images that any subject of the study saw, with captions, and their pixels if the user holds them -> Stimuli."""

from fmri2img import job
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.datasets import lockfile
from fmri2img.datasets.checksums import by_key, checksums
from fmri2img.datasets.laion_fmri.embeddings import read_names
from fmri2img.datasets.laion_fmri.recording import read_trials
from fmri2img.datasets.laion_fmri.stimuli import describe_images, picture_blocks, read_captions


def main(snakemake) -> None:
    given, params = snakemake.input, snakemake.params
    small = by_key(params.root, [*given.trials, given.names, given.captions, *given.metadata])
    pictures = by_key(params.root, [*given.pictures])
    lockfile.verify_downloaded(small | pictures)
    names = read_names(given.names)
    image_ids = {name: number for number, name in enumerate(names)}
    paths, seen = iter(given.trials), set()
    for sessions in params.sessions.values():
        trials = read_trials({session: next(paths) for session in range(1, sessions + 1)}, image_ids)
        seen |= set(trials["image_id"])
    shown = [names[image_id] for image_id in sorted(seen)]
    table = describe_images(shown, image_ids, read_captions(given.captions))
    images = picture_blocks(*given.pictures, *given.metadata, shown, params.image_size) if pictures else None
    save_stimuli(snakemake.output[0], images, table, {"seen_by": params.sessions, "sources_sha256": checksums(small)})
    print(f"{len(shown)} images seen by {', '.join(params.sessions)}, {table['shared'].sum()} of them shared")


if __name__ == "__main__":
    job.run(main)
