# Trains the demo's frozen networks anew; the demo study itself never does, it reads resources/demo_backbones/.
#   snakemake -s workflow/train_demo_backbones.smk --cores 2
# On a machine with a GPU each network takes minutes; on two CPU cores the whole takes about two hours. The weights in the
# repository were trained by these recipes in parts, as each network's CARD.md says; they are not made again bit by bit.
# unCLIP is built anew and the text-to-image network begins with it. The paper's recipe goes the other way, from SDXL to
# unCLIP (config/unclip_sdxl.yaml, rule train_unclip), by the same scripts/train_unclip.py.

RECIPE = "config/demo_backbones.yaml"
FROM_PICTURES = ["clip", "vae"]
NETWORKS = [*FROM_PICTURES, "unclip", "text2img", "captioner"]


wildcard_constraints:
    network="|".join(NETWORKS),


rule all:
    input:
        expand("resources/demo_backbones/{network}", network=NETWORKS),


rule train_on_pictures:
    input:
        recipe=RECIPE,
    output:
        directory("resources/demo_backbones/{network,clip|vae}"),
    log:
        "logs/demo_backbones/{network}.log",
    conda:
        "../envs/models.yaml"
    threads: 2
    shell:
        "PYTHONPATH=scripts python scripts/train_demo_backbone.py {wildcards.network} --recipe {input.recipe} "
        "--output {output} --threads {threads} > {log} 2>&1"


rule train_captioner:
    input:
        recipe=RECIPE,
        clip="resources/demo_backbones/clip",
    output:
        directory("resources/demo_backbones/captioner"),
    log:
        "logs/demo_backbones/captioner.log",
    conda:
        "../envs/models.yaml"
    threads: 2
    shell:
        "PYTHONPATH=scripts python scripts/train_demo_backbone.py captioner --recipe {input.recipe} "
        "--output {output} --threads {threads} > {log} 2>&1"


rule train_demo_unclip:
    input:
        recipe="config/unclip_demo.yaml",
        clip="resources/demo_backbones/clip",
        vae="resources/demo_backbones/vae",
    output:
        directory("resources/demo_backbones/unclip"),
    log:
        "logs/demo_backbones/unclip.log",
    conda:
        "../envs/models.yaml"
    threads: 2
    shell:
        "PYTHONPATH=scripts python scripts/train_unclip.py --config {input.recipe} "
        "--output {output} --threads {threads} > {log} 2>&1"


rule train_text2img:
    input:
        recipe=RECIPE,
        clip="resources/demo_backbones/clip",
        vae="resources/demo_backbones/vae",
        unclip="resources/demo_backbones/unclip",
    output:
        directory("resources/demo_backbones/text2img"),
    log:
        "logs/demo_backbones/text2img.log",
    conda:
        "../envs/models.yaml"
    threads: 2
    shell:
        "PYTHONPATH=scripts python scripts/train_demo_backbone.py text2img --recipe {input.recipe} "
        "--output {output} --threads {threads} > {log} 2>&1"
