# Registries, configuration and records of trainings -> a card for each method.


from fmri2img.code_identity import module_file

# What methods say of their own design is imported by name (reporting.cards.card_of).
card_modules = sorted({f"{study.registries['methods'][method]['module']}.card" for method in study.described})


rule make_cards:
    """What each method is: origin, size, training, settings, and which known defects it reproduces."""
    input:
        decoders=[path for method in study.trained for path in decoder_paths(method)],
        pretrained=all_pretrained(),
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
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        study=study.fingerprint,
        code=code_of("make_cards", *filter(module_file, card_modules)),
    script:
        "../../scripts/make_cards.py"
