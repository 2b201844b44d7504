"""The images that any subject of the study saw, with their captions and categories -> Stimuli."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.datasets import lockfile
from fmri2img.datasets.checksums import checksums
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.design import read_design, read_trials
from fmri2img.datasets.nsd.stimuli import describe_images, image_blocks


def prepare_stimuli(
    responses: dict[str, str], sessions: dict[str, int], design: str, stimulus_info: str, images: str,
    captions: dict[str, str], instances: dict[str, str], output: str,
) -> None:  # fmt: skip
    """Write the Stimuli.

    responses: subject -> its responses.tsv; sessions: subject -> number of its sessions that count; captions,
    instances: cocoSplit -> COCO's JSON file. Raises UserError when a file is damaged, or is not what was downloaded.
    """
    small = {layout.EXPERIMENT_DESIGN: design, layout.STIMULUS_INFO: stimulus_info}
    small |= {layout.responses(subject): path for subject, path in responses.items()}
    small |= {layout.COCO_CAPTIONS[split]: path for split, path in captions.items()}
    small |= {layout.COCO_INSTANCES[split]: path for split, path in instances.items()}
    lockfile.verify_downloaded(small | {layout.STIMULI: images})
    seen = [
        trials.loc[trials["session"] <= sessions[subject], "image_id"]
        for subject, path in responses.items()
        for trials in [read_trials(path, design, stimulus_info, subject)]
    ]
    ids = np.unique(np.concatenate(seen))
    table = describe_images(stimulus_info, captions, instances, ids)
    table["shared"] = np.isin(ids, read_design(design).shared)
    save_stimuli(output, image_blocks(images, ids), table, {"seen_by": sessions, "sources_sha256": checksums(small)})
    print(f"{len(ids)} images seen by {', '.join(responses)}, {table['shared'].sum()} of them shared")


def main(snakemake) -> None:
    prepare_stimuli(
        dict(zip(snakemake.params.sessions, snakemake.input.responses, strict=True)),
        snakemake.params.sessions,
        snakemake.input.design,
        snakemake.input.stimulus_info,
        snakemake.input.images,
        dict(zip(layout.COCO_CAPTIONS, snakemake.input.captions, strict=True)),
        dict(zip(layout.COCO_INSTANCES, snakemake.input.instances, strict=True)),
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
