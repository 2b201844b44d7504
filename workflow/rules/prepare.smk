# Raw files in NSD's layout -> Recording of each subject, Stimuli, splits.

from fmri2img.datasets.nsd import layout


rule mask_session:
    """One session of betas inside the mask. It is kept, because the session's own 1.1 GB are deleted after this."""
    input:
        betas=lambda w: tree(layout.betas(w.subject, config["nsd"]["betas"]["version"], int(w.session))),
        mask=tree(layout.roi("{subject}", config["nsd"]["betas"]["mask"])),
        responses=tree(layout.responses("{subject}")),
    output:
        "<results>/masked/{subject}/session{session}.npy",
    log:
        "<logs>/mask_session/{subject}_session{session}.log",
    conda:
        "../../envs/prepare.yaml"
    threads: 1
    resources:
        mem_mb=600,
        runtime=10,
    params:
        code=code_of("fmri2img.datasets.nsd.betas"),
    script:
        "../../scripts/mask_session.py"


rule prepare_recording:
    """All sessions of a subject, z-scored, with its trials and voxels."""
    input:
        masked=lambda w: [f"<results>/masked/{w.subject}/session{n:02d}.npy" for n in all_sessions(w.subject)],
        split=f"<results>/splits/{config['split']}.json",
        trials=[tree(layout.responses("{subject}")), tree(layout.EXPERIMENT_DESIGN), tree(layout.STIMULUS_INFO)],
        regions=[tree(layout.roi("{subject}", name)) for name in {config["nsd"]["betas"]["mask"]: None, **layout.ROI_LABELS}],
        ncsnr=tree(layout.ncsnr("{subject}", config["nsd"]["betas"]["version"])),
        valid=lambda w: [tree(layout.valid(w.subject, n)) for n in all_sessions(w.subject)],
    output:
        directory("<results>/recordings/{subject}"),
    log:
        "<logs>/prepare_recording/{subject}.log",
    benchmark:
        "<benchmarks>/prepare_recording/{subject}.tsv"
    conda:
        "../../envs/prepare.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        sessions=lambda w: all_sessions(w.subject),
        betas=config["nsd"]["betas"],
        code=code_of("prepare_recording"),
    script:
        "../../scripts/prepare_recording.py"


rule prepare_stimuli:
    """The images that any subject of the study saw, with COCO's captions and categories."""
    input:
        images=tree(layout.STIMULI),
        design=tree(layout.EXPERIMENT_DESIGN),
        stimulus_info=tree(layout.STIMULUS_INFO),
        responses=[tree(layout.responses(subject)) for subject in study.recorded],
        captions=[tree(key) for key in layout.COCO_CAPTIONS.values()],
        instances=[tree(key) for key in layout.COCO_INSTANCES.values()],
    output:
        directory("<results>/stimuli"),
    log:
        "<logs>/prepare_stimuli.log",
    benchmark:
        "<benchmarks>/prepare_stimuli.tsv"
    conda:
        "../../envs/prepare.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        sessions={subject: len(all_sessions(subject)) for subject in study.recorded},
        code=code_of("prepare_stimuli"),
    script:
        "../../scripts/prepare_stimuli.py"


rule make_splits:
    """Which of the shared images are held out."""
    input:
        design=tree(layout.EXPERIMENT_DESIGN),
    output:
        shared1000="<results>/splits/shared1000.json",
        shared982="<results>/splits/shared982.json",
    log:
        "<logs>/make_splits.log",
    conda:
        "../../envs/prepare.yaml"
    threads: 1
    resources:
        mem_mb=600,
        runtime=10,
    params:
        shared982_sessions=config["nsd"]["shared982_sessions"],
        code=code_of("make_splits"),
    script:
        "../../scripts/make_splits.py"


rule make_cluster_split:
    """One semantic cluster of images held out whole."""
    input:
        embeddings=f"<results>/embeddings/{config['encoder']}",
    output:
        r"<results>/splits/cluster{cluster,\d+}.json",
    log:
        "<logs>/make_cluster_split/cluster{cluster}.log",
    conda:
        "../../envs/prepare.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        clusters=config["cluster_split"]["clusters"],
        seed=config["cluster_split"]["seed"],
        code=code_of("make_cluster_split"),
    script:
        "../../scripts/make_cluster_split.py"
