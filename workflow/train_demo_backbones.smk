# Trains the demo's frozen networks anew; the demo study itself never does, it reads resources/demo_backbones/.
#   snakemake -s workflow/train_demo_backbones.smk --cores 2
# On a machine with a GPU each network takes minutes; on two CPU cores the whole takes about two hours.

RECIPE = "config/demo_backbones.yaml"
TRAIN = "PYTHONPATH=scripts python scripts/train_demo_backbone.py {wildcards.network} --recipe {input.recipe} "
FROM_PICTURES = ["clip", "vae"]
FROM_NETWORKS = ["unclip", "text2img", "captioner"]


wildcard_constraints:
    network="|".join(FROM_PICTURES + FROM_NETWORKS),


rule all:
    input:
        expand("resources/demo_backbones/{network}", network=FROM_PICTURES + FROM_NETWORKS),


rule train_on_pictures:
    input:
        recipe=RECIPE,
    output:
        directory("resources/demo_backbones/{network,clip|vae}"),
    threads: 2
    shell:
        TRAIN + "--output {output} --threads {threads}"


rule train_on_tokens:
    input:
        recipe=RECIPE,
        clip="resources/demo_backbones/clip",
        vae="resources/demo_backbones/vae",
    output:
        directory("resources/demo_backbones/{network,unclip|captioner}"),
    threads: 2
    shell:
        TRAIN + "--output {output} --threads {threads}"


rule train_on_text:
    input:
        recipe=RECIPE,
        clip="resources/demo_backbones/clip",
        vae="resources/demo_backbones/vae",
        unclip="resources/demo_backbones/unclip",
    output:
        directory("resources/demo_backbones/{network,text2img}"),
    threads: 2
    shell:
        TRAIN + "--output {output} --threads {threads}"
