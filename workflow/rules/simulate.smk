# The simulated NSD: the files that the preparation reads, in NSD's own layout. Only included when nsd.source is
# simulated. The other files of the layout (betas as NIfTI, the other beta version, further maps) are written beside.

from fmri2img.datasets.nsd import layout


rule simulate_stimuli:
    """What belongs to no single subject: design, stimulus table, images, captions and categories."""
    output:
        design=tree(layout.EXPERIMENT_DESIGN),
        information=tree(layout.STIMULUS_INFO),
        images=tree(layout.STIMULI),
        captions=[tree(key) for key in layout.COCO_CAPTIONS.values()],
        instances=[tree(key) for key in layout.COCO_INSTANCES.values()],
    log:
        "<logs>/simulate_stimuli.log",
    benchmark:
        "<benchmarks>/simulate_stimuli.tsv"
    conda:
        "../../envs/prepare.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        simulation=config["nsd"]["simulation"],
        code=code_of("simulate_stimuli"),
    script:
        "../../scripts/simulate_stimuli.py"


# One rule for each subject, because they have different numbers of sessions and so of files.
for subject in study.available_sessions:

    rule:
        """One subject: anatomy, behaviour and the betas of all sessions."""
        name:
            f"simulate_{subject}"
        input:
            images=tree(layout.STIMULI),
        output:
            betas=[
                tree(layout.betas(subject, version, session))
                for version in ("b2", "b3")
                for session in all_sessions(subject)
            ],
            ncsnr=[tree(layout.ncsnr(subject, version)) for version in ("b2", "b3")],
            valid=[tree(layout.valid(subject, session)) for session in all_sessions(subject)],
            brainmask=tree(layout.func(subject, "brainmask.nii.gz")),
            rois=[tree(layout.roi(subject, name)) for name in {config["nsd"]["betas"]["mask"]: None, **layout.ROI_LABELS}],
            responses=tree(layout.responses(subject)),
        log:
            f"<logs>/simulate_subject/{subject}.log",
        benchmark:
            f"<benchmarks>/simulate_subject/{subject}.tsv"
        conda:
            "../../envs/prepare.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            simulation=config["nsd"]["simulation"],
            subject=subject,
            code=code_of("simulate_subject"),
        script:
            "../../scripts/simulate_subject.py"
