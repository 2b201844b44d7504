# The simulated GOD, in both of its file formats.

from fmri2img.datasets.god import layout


rule god_simulate:
    """Simulate pictures, their lists, and the responses of all subjects."""
    output:
        images=str(study.dataset.root / layout.IMAGES),
        lists=[str(study.dataset.root / names[0]) for names in layout.LISTS.values()],
        bdpy=[str(study.dataset.root / layout.responses(name, layout.BDPY)) for name in study.dataset.sessions],
        npz=[str(study.dataset.root / layout.responses(name, layout.NPZ)) for name in study.dataset.sessions],
    log:
        "<logs>/god_simulate.log",
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        simulation=study.dataset.section["simulation"],
        code=code_of(study.dataset.folder / "scripts/simulate.py"),
    script:
        "../scripts/simulate.py"
