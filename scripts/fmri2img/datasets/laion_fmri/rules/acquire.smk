# The real LAION-fMRI: one job per file of its public bucket or of the authors' repository, and one per subject for its
# region masks. Small files are downloaded one after the other in one submission, and so are sessions of betas, which
# the same submission masks.
#
# As in NSD's rules, the script is called from `shell:` and parameters are functions of the output, so that a file which
# is already there is not downloaded again because of a fresh checkout, an edited script or another endpoint.

import json

from fmri2img.datasets.acquisition import check_may_be_deleted
from fmri2img.datasets.laion_fmri import layout

# Snakemake deletes temp() files after use even if it did not make them.
try:
    check_may_be_deleted(
        study.dataset.root, f"{layout.GLMSINGLE}/*/*/func/*_desc-SingletrialBetas_statmap.nii.gz", "laion_fmri"
    )
except UserError as error:
    raise WorkflowError(str(error))


rule laion_acquire:
    """Download or link a file: pictures, embeddings, captions, tables, maps, splits."""
    output:
        study.dataset.tree("{key}"),
    log:
        "<logs>/laion_acquire/{key}.log",
    wildcard_constraints:
        key=rf"(?:stimuli|{layout.SPLIT_FOLDER}|{layout.GLMSINGLE})/(?!.*_desc-SingletrialBetas_statmap\.nii\.gz$).+",
    group:
        submitted_with("files")
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("file")
    resources:
        **needs("file", within="transfers"),
    params:
        script=lambda wildcards, output: str(study.dataset.folder / "scripts/acquire.py"),
        root=lambda wildcards, output: str(study.dataset.root),
        source=lambda wildcards, output: json.dumps(study.dataset.section["bucket"]),
    shell:
        "python {params.script:q} --root {params.root:q} --source {params.source:q} --log {log:q} {wildcards.key:q}"


rule laion_acquire_regions:
    """Download or link the region masks that a subject has, and list them."""
    output:
        study.dataset.tree(layout.region_list("{subject}")),
    log:
        "<logs>/laion_acquire_regions/{subject}.log",
    group:
        submitted_with("files")
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("file")
    resources:
        **needs("file", within="transfers"),
    params:
        script=lambda wildcards, output: str(study.dataset.folder / "scripts/acquire.py"),
        root=lambda wildcards, output: str(study.dataset.root),
        source=lambda wildcards, output: json.dumps(study.dataset.section["bucket"]),
    shell:
        "python {params.script:q} --root {params.root:q} --source {params.source:q} --log {log:q}"
        " --regions {wildcards.subject:q}"


rule laion_acquire_betas:
    """Download or link one session's betas, about 1.3 GB, which are deleted once they are masked."""
    output:
        temp(study.dataset.tree("{key}")),
    log:
        "<logs>/laion_acquire/{key}.log",
    wildcard_constraints:
        key=rf"{layout.GLMSINGLE}/.+_desc-SingletrialBetas_statmap\.nii\.gz",
    group:
        submitted_with("sessions")
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("download")
    resources:
        **needs("file", within="transfers"),
    params:
        script=lambda wildcards, output: str(study.dataset.folder / "scripts/acquire.py"),
        root=lambda wildcards, output: str(study.dataset.root),
        source=lambda wildcards, output: json.dumps(study.dataset.section["bucket"]),
    shell:
        "python {params.script:q} --root {params.root:q} --source {params.source:q} --log {log:q} {wildcards.key:q}"
