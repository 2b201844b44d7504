# The real NSD: one job per file of its public bucket, and one for COCO's annotations.
#
# A file that lies in the tree already is not made again, whatever else changes. So the script is called from `shell:`,
# because Snakemake runs a `script:` rule again, and first deletes its outputs, when the script is newer than they are: a
# fresh checkout would download everything again. And every parameter is a function with the argument `output`, because
# Snakemake does not keep track of those: another endpoint is no reason to download again.

import json
import os

from fmri2img.datasets import layout
from fmri2img.datasets.acquisition import check_betas_are_own

# Snakemake deletes temp() files after use even when it did not make them (tests/faults/test_own_betas.py).
try:
    check_betas_are_own(study.root)
except UserError as error:
    raise WorkflowError(str(error))

ACQUIRE = os.path.normpath(f"{workflow.current_basedir}/../../scripts/acquire.py")


rule acquire:
    """A file that stays: design, behaviour, masks, noise ceilings, stimuli."""
    output:
        tree("{key}"),
    log:
        "<logs>/acquire/{key}.log",
    wildcard_constraints:
        key=r"nsddata(?!.*/betas_session\d\d\.hdf5$)(_betas|_stimuli)?/.+",
    retries: 3
    conda:
        "../../envs/prepare.yaml"
    threads: 1
    resources:
        downloads=1,
        mem_mb=500,
        runtime=720,
    params:
        script=lambda wildcards, output: ACQUIRE,
        root=lambda wildcards, output: study.root,
        source=lambda wildcards, output: json.dumps(config["dataset"]["nsd"]),
    shell:
        "python {params.script:q} --root {params.root:q} --source {params.source:q} --log {log:q} {wildcards.key:q}"


rule acquire_betas:
    """One session's betas, about 1.1 GB, which go when they are masked."""
    output:
        temp(tree("{key}")),
    log:
        "<logs>/acquire/{key}.log",
    wildcard_constraints:
        key=r"nsddata_betas/.+/betas_session\d\d\.hdf5",
    retries: 3
    conda:
        "../../envs/prepare.yaml"
    threads: 1
    resources:
        downloads=1,
        mem_mb=500,
        runtime=240,
    params:
        script=lambda wildcards, output: ACQUIRE,
        root=lambda wildcards, output: study.root,
        source=lambda wildcards, output: json.dumps(config["dataset"]["nsd"]),
    shell:
        "python {params.script:q} --root {params.root:q} --source {params.source:q} --log {log:q} {wildcards.key:q}"


rule acquire_annotations:
    """COCO's captions and object instances, all from one archive."""
    output:
        captions=[tree(key) for key in layout.COCO_CAPTIONS.values()],
        instances=[tree(key) for key in layout.COCO_INSTANCES.values()],
    log:
        "<logs>/acquire/annotations.log",
    retries: 3
    conda:
        "../../envs/prepare.yaml"
    threads: 1
    resources:
        downloads=1,
        mem_mb=500,
        runtime=240,
    params:
        script=lambda wildcards, output: ACQUIRE,
        root=lambda wildcards, output: study.root,
        source=lambda wildcards, output: json.dumps(config["dataset"]["nsd"]),
    shell:
        "python {params.script:q} --root {params.root:q} --source {params.source:q} --log {log:q}"
