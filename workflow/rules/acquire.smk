# The real NSD: one job per file of its public bucket, and one for COCO's annotations.
#
# A file that lies in the tree already is not made again for a fresh checkout, an edited script or another endpoint. So
# the script is called from `shell:`, because Snakemake runs a `script:` rule again, and first deletes its outputs, when
# the script is newer than they are. And every parameter is a function with the argument `output`, because Snakemake does
# not keep track of those.
#
# What does make Snakemake download again: an edited `shell:` text below, another deployed software environment (--sdm);
# and for betas, which are gone once they are masked, whatever makes mask_session run again (its script, the library's
# modules that it names, betas.mask). Where a change has no effect on the files, `--rerun-triggers mtime` keeps them.
#
# No rule has `retries`: the script itself tries for about two minutes whatever may pass, and what is left then (not
# public, not there, no room on the disk) is no better the next time. The next run goes on where a download stopped.

import json
import os

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.acquisition import check_betas_are_own

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
        source=lambda wildcards, output: json.dumps(config["nsd"]["bucket"]),
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
        source=lambda wildcards, output: json.dumps(config["nsd"]["bucket"]),
    shell:
        "python {params.script:q} --root {params.root:q} --source {params.source:q} --log {log:q} {wildcards.key:q}"


rule acquire_annotations:
    """COCO's captions and object instances, all from one archive."""
    output:
        captions=[tree(key) for key in layout.COCO_CAPTIONS.values()],
        instances=[tree(key) for key in layout.COCO_INSTANCES.values()],
    log:
        "<logs>/acquire/annotations.log",
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
        source=lambda wildcards, output: json.dumps(config["nsd"]["bucket"]),
    shell:
        "python {params.script:q} --root {params.root:q} --source {params.source:q} --log {log:q}"
