# HCP's files, simulated or the user's own -> a Recording of each subject, on which networks may be pretrained. One job
# prepares all subjects, because each takes a second and there are more than a thousand.

hcp = study.pools["hcp"]

if hcp.simulated:

    rule hcp_simulate:
        """Simulate the resting state of all subjects."""
        output:
            [str(path) for path in hcp.files.values()],
        log:
            "<logs>/hcp_simulate.log",
        conda:
            "../../../../envs/prepare.yaml"
        threads: threads_of("light")
        resources:
            **needs("light"),
        params:
            simulation=hcp.section["simulation"],
            code=code_of(hcp.folder / "scripts/simulate.py"),
        script:
            "scripts/simulate.py"


rule hcp_recordings:
    """Average the resting state of every subject over windows."""
    input:
        [str(path) for path in hcp.files.values()],
    output:
        [directory(f"<results>/recordings/hcp/{subject}") for subject in hcp.files],
    log:
        "<logs>/hcp_recordings.log",
    conda:
        "../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        pool="hcp",
        subjects=list(hcp.files),
        per_window=hcp.settings.volumes_per_window,
        found=lambda w: as_found(hcp, hcp.files.values()),
        code=code_of(hcp.folder / "scripts/prepare_recordings.py"),
    script:
        "scripts/prepare_recordings.py"
