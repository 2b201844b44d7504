# GOD's published files. As in NSD's rules, the script is called from `shell:` and parameters are functions of the output,
# so that a file which is already there is not downloaded again because of a fresh checkout or an edited script.

from fmri2img.datasets.god import layout


rule god_acquire:
    """Download a file: responses of either release, or SelfSuperReconst's pictures."""
    output:
        str(study.dataset.root / "{key}"),
    log:
        "<logs>/god_acquire/{key}.log",
    wildcard_constraints:
        key=one_of(layout.ADDRESSES),
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("download")
    resources:
        **needs("download"),
    params:
        script=lambda wildcards, output: str(study.dataset.folder / "scripts/acquire.py"),
        root=lambda wildcards, output: str(study.dataset.root),
    shell:
        "python {params.script:q} --root {params.root:q} --log {log:q} {wildcards.key:q}"
