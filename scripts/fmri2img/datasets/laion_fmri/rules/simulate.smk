# Simulate LAION-fMRI in its own layout. The rule names only the files that the preparation reads of the study's subjects.

from fmri2img.datasets.laion_fmri import layout


rule laion_simulate:
    """Simulate the files of all subjects, the pictures and what is derived from them."""
    output:
        shared=[
            study.dataset.tree(key)
            for key in (
                layout.PICTURES,
                layout.METADATA,
                layout.CAPTIONS,
                *map(layout.embeddings, layout.EMBEDDINGS),
            )
        ],
        betas=[
            study.dataset.tree(layout.betas(subject, session))
            for subject, sessions in study.dataset.settings.recorded_sessions.items()
            for session in range(1, sessions + 1)
        ],
        trials=[
            study.dataset.tree(layout.trials(subject, session))
            for subject, sessions in study.dataset.settings.recorded_sessions.items()
            for session in range(1, sessions + 1)
        ],
        maps=[
            study.dataset.tree(key)
            for subject in study.dataset.sessions
            for key in (
                layout.r2mean(subject),
                *[layout.noise_ceiling(subject, kind) for kind in layout.CEILING_REPEATS],
            )
        ],
        splits=[
            study.dataset.tree(layout.split(pool, name))
            for pool in (layout.SHARED, *study.dataset.sessions)
            for name in study.dataset.splits
        ],
    log:
        "<logs>/laion_simulate.log",
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        root=lambda w: str(study.dataset.root),
        simulation=study.dataset.section["simulation"],
        code=code_of(study.dataset.folder / "scripts/simulate.py"),
    script:
        "../scripts/simulate.py"


rule laion_list_regions:
    """List the region masks of a simulated subject."""
    input:
        study.dataset.tree(layout.r2mean("{subject}")),
    output:
        study.dataset.tree(layout.region_list("{subject}")),
    log:
        "<logs>/laion_list_regions/{subject}.log",
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        root=lambda w: str(study.dataset.root),
        code=code_of(study.dataset.folder / "scripts/list_regions.py"),
    script:
        "../scripts/list_regions.py"
