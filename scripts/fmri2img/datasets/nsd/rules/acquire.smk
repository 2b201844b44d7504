# The real NSD: one job per file of its public bucket, and one for COCO's annotations. Small files are downloaded one after
# the other in one submission, and so are sessions of betas, which the same submission masks.
#
# A file that is already in the tree must not be downloaded again because of a fresh checkout, an edited script or
# another endpoint. So the script is called from `shell:`: a `script:` rule runs again, and first deletes its outputs, when
# the script is newer than they are. And every parameter is a function with the argument `output`, because Snakemake does
# not track those.
#
# Snakemake downloads files again after an edit of the `shell:` text below or a change of the deployed software
# environment (--sdm). Betas, which are deleted once they are masked, are also downloaded again when mask_session reruns
# (because of its script, the library's modules that it names, or the mask). If a change has no effect on the files,
# `--rerun-triggers mtime` keeps them.
#
# No rule has `retries`: the script itself retries transient failures for about two minutes, and the other errors (the
# object is not public, there is no such object, the disk is full) will not improve on retry. The next run resumes an
# interrupted download.

import json

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.acquisition import check_betas_are_own

BETA_FILE = rf"betas_(session\d\d|{layout.IMAGERY}|{layout.SYNTHETIC})\.({'|'.join(map(re.escape, layout.BETA_FORMS))})"

# Snakemake deletes temp() files after use even if it did not make them (tests/faults/test_own_betas.py).
try:
    check_betas_are_own(study.dataset.root)
except UserError as error:
    raise WorkflowError(str(error))


rule acquire_stimuli:
    """Download or link the stimuli, 39 GB."""
    output:
        study.dataset.tree("{key}"),
    log:
        "<logs>/acquire/{key}.log",
    wildcard_constraints:
        key=re.escape(layout.STIMULI),
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("download")
    resources:
        **needs("download"),
    params:
        script=lambda wildcards, output: str(study.dataset.folder / "scripts/acquire.py"),
        root=lambda wildcards, output: str(study.dataset.root),
        source=lambda wildcards, output: json.dumps(study.dataset.section["bucket"]),
    shell:
        "python {params.script:q} --root {params.root:q} --source {params.source:q} --log {log:q} {wildcards.key:q}"


use rule acquire_stimuli as acquire with:
    wildcard_constraints:
        key=rf"(?!{re.escape(layout.STIMULI)}$)nsddata(?!.*/{BETA_FILE}$)(_betas|_stimuli)?/.+",
    group:
        submitted_with("files")
    threads: threads_of("file")
    resources:
        **needs("file", within="transfers"),


rule acquire_betas:
    """Download or link the betas of a session or of a further experiment, about 1.1 GB, deleted once they are masked."""
    output:
        temp(study.dataset.tree("{key}")),
    log:
        "<logs>/acquire/{key}.log",
    wildcard_constraints:
        key=rf"nsddata_betas/.+/{BETA_FILE}",
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


rule acquire_annotations:
    """Download COCO's captions and object instances, all from one archive."""
    output:
        captions=[study.dataset.tree(key) for key in layout.COCO_CAPTIONS.values()],
        instances=[study.dataset.tree(key) for key in layout.COCO_INSTANCES.values()],
    log:
        "<logs>/acquire/annotations.log",
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("download")
    resources:
        **needs("download"),
    params:
        script=lambda wildcards, output: str(study.dataset.folder / "scripts/acquire.py"),
        root=lambda wildcards, output: str(study.dataset.root),
        source=lambda wildcards, output: json.dumps(study.dataset.section["bucket"]),
    shell:
        "python {params.script:q} --root {params.root:q} --source {params.source:q} --log {log:q}"
