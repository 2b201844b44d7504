# The simulated BOLD5000, in its published layout.


rule bold5000_simulate:
    """Simulate pictures, lists, labels, and the betas of all subjects."""
    output:
        stimuli=directory(str(study.dataset.stimuli)),
        betas=[str(path) for subject in study.dataset.sessions for path in study.dataset.betas(subject)],
    log:
        "<logs>/bold5000_simulate.log",
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
