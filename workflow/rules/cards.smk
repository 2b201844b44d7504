# Registries, configuration and records of trainings -> a card for each method.


rule make_cards:
    """Describe each method: origin, size, training, settings and the known defects that it reproduces."""
    input:
        decoders=there(path for method in study.trained for path in decoder_paths(method)),
        pretrained=there(all_pretrained()),
    output:
        cards=[
            report(
                f"<results>/cards/{method}.html",
                caption="../report/method_card.rst",
                category="3 Provenance",
                labels={"content": f"Method card: {study.registries['methods'][method]['title']}"},
            )
            for method in study.described
        ],
        curves=[
            report(
                f"<results>/cards/{method}_training.svg",
                caption="../report/training_curves.rst",
                category="3 Provenance",
                labels={"content": f"Training curves: {study.registries['methods'][method]['title']}"},
            )
            for method in study.trained
        ],
        plain=collect("<results>/cards/{method}.{suffix}", method=study.described, suffix=["csv", "md", "tex"]),
        pictures=collect("<results>/cards/{method}_training.png", method=study.trained),
    log:
        "<logs>/make_cards.log",
    benchmark:
        "<benchmarks>/make_cards.tsv"
    localrule: True
    conda:
        "../../envs/train.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        study=study.fingerprint,
        may_lack=["decoders", "pretrained"],
        lacking=lacking(),
        code=code_of("make_cards", *study.card_functions),
    script:
        "../../scripts/make_cards.py"
