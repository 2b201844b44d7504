# SDXL base -> an unCLIP generator of this project's own making, as MindEye2's authors made theirs. No target of a study
# asks for it: `snakemake --configfile config/paper.yaml models/unclip_sdxl`.


rule train_unclip:
    """Fine-tune SDXL base to draw from image tokens. A killed run goes on from its checkpoint."""
    input:
        recipe="config/unclip_sdxl.yaml",
        pictures="data/coco/train2017",
        without="results/paper/stimuli",
        start=model_path("sdxl_base"),
        encoder=model_path("openclip_bigg"),
        autoencoder=model_path("sdxl_vae"),
    output:
        directory("models/unclip_sdxl"),
    log:
        "<logs>/train_unclip.log",
    benchmark:
        "<benchmarks>/train_unclip.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 64
    resources:
        gpu=8,
        mem_mb=256000,
        runtime=10080,
    shell:
        "PYTHONPATH=scripts torchrun --nproc-per-node {resources.gpu} scripts/train_unclip.py --config {input.recipe} "
        "--output {output} --work results/unclip_sdxl --threads 8 > {log} 2>&1"
