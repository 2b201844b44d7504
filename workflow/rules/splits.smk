# Embeddings -> splits by semantic clusters, for every dataset. A dataset makes its own splits in its own rules.


rule make_cluster_split:
    """Hold out one whole semantic cluster of images."""
    input:
        embeddings=f"<results>/embeddings/{config['encoder']}",
    output:
        r"<results>/splits/cluster{cluster,\d+}.json",
    log:
        "<logs>/make_cluster_split/cluster{cluster}.log",
    conda:
        "../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        clustering=config["cluster_split"],  # not two numbers: Snakemake does not notice when they change places
        code=code_of("make_cluster_split"),
    script:
        "../../scripts/make_cluster_split.py"
