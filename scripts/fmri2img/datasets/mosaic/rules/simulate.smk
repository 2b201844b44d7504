# The simulated MOSAIC, in the layout of its bucket, and the pictures that users have to get elsewhere.

from fmri2img.datasets.mosaic import layout


rule mosaic_simulate:
    """Simulate the parcellation, tables, lists, pictures, and the betas of all subjects."""
    output:
        parcels=str(study.dataset.root / layout.PARCELS),
        pictures=directory(str(study.dataset.pictures)),
        tables=[str(path) for path in study.dataset.tables(list(study.dataset.sessions))],
        lists=[str(study.dataset.file(layout.filtered(part))) for part in layout.FILTERED],
        betas=[str(study.dataset.betas(subject)) for subject in study.dataset.sessions],
    log:
        "<logs>/mosaic_simulate.log",
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
