# MOSAIC's files, from its bucket. As in NSD's rules, the script is called from `shell:` and parameters are functions of the
# output, so that a file which is already there is not downloaded again because of a fresh checkout or an edited script.

import json


rule mosaic_acquire:
    """Download a file: a subject's betas (up to 22 GB), a table of stimuli, a list of the split, the parcellation."""
    output:
        str(study.dataset.root / "{key}"),
    log:
        "<logs>/mosaic_acquire/{key}.log",
    wildcard_constraints:
        key=one_of(study.dataset.keys(study.recorded, config["split"])),
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("download")
    resources:
        **needs("download"),
    params:
        script=lambda wildcards, output: str(study.dataset.folder / "scripts/acquire.py"),
        root=lambda wildcards, output: str(study.dataset.root),
        bucket=lambda wildcards, output: json.dumps(study.dataset.section["bucket"]),
        accepted=lambda wildcards, output: json.dumps(study.dataset.section["terms_accepted"]),
    shell:
        "python {params.script:q} --root {params.root:q} --bucket {params.bucket:q} --accepted {params.accepted:q} "
        "--log {log:q} {wildcards.key:q}"
