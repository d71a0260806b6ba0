# What adding features really does to the logits, beside their logit weights.
EFFECT_VIEW = config["effects"]["view"]
EFFECT_TABLE = f"{STAGES}/effects.parquet".replace("{view}", EFFECT_VIEW)
AGREEMENT_TABLE = f"{STAGES}/agreement.parquet".replace("{view}", EFFECT_VIEW)
PEAK_TABLE = f"{STAGES}/peaks.parquet".replace("{view}", EFFECT_VIEW)
EFFECT_SUMMARY = multiext(
    "results/{study}/summary/effects_",
    "summary.parquet",
    "summary.tsv",
    "retention.parquet",
    "by_hook.parquet",
    "by_hook.tsv",
)


# The studies whose effects are measured: those in whose views that of the effects is.
MEASURED = [
    study for study in STUDIES.values() if not left_out(study, "effects") and EFFECT_VIEW in study.views
]
EFFECTS = [
    path.format(study=study.name)
    for study in MEASURED
    for path in [
        *(path for table in (EFFECT_TABLE, AGREEMENT_TABLE, PEAK_TABLE) for path in of_saes(table, study)),
        *EFFECT_SUMMARY,
    ]
]


def in_effect_view(table, study):
    """A table of each of the study's SAEs in the view of the effects."""
    return of_saes(f"{STAGES}/{table}.parquet".replace("{view}", EFFECT_VIEW), study)


# One job a study measures all layers, since one clean run of the model and one import of transformer_lens and sae_lens
# then serve them all, and it writes a table for each: hence a rule a study.
for study in MEASURED:

    rule:
        name:
            f"measure_effects_{study.name}"
        input:
            weights=local_files,
            fetched=fetched,
            decoders=of_saes(DECODER, study),
            unembedding=of_model(UNEMBEDDING),
            moments=in_effect_view("moments", study),
            types=in_effect_view("types", study),
            quantiles=at_model(NULL_QUANTILES.replace("{view}", EFFECT_VIEW), study),
            layer_quantiles=in_effect_view("null_quantiles", study) if LAYER_KINDS else [],
            # Without it nothing is predicted by it.
            transport=transport_of(study),
            text=evaluation_text,
            code=library("measure_effects.py"),
        output:
            effects=of_saes(EFFECT_TABLE, study),
            agreement=of_saes(AGREEMENT_TABLE, study),
            peaks=of_saes(PEAK_TABLE, study),
        log:
            "logs/{study}/measure_effects.log",
        benchmark:
            "results/benchmarks/{study}/measure_effects.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: HALF
        resources:
            **GPU,
            # GPT-2 small on a CPU took it, its 0.5 GB included; mini takes half.
            mem_mb=beside_model(3000),
        params:
            source=source_of,
            view=config["views"][EFFECT_VIEW],
            scheme=config["types"]["default_scheme"],
            schemes=config["types"]["schemes"],
            settings={name: value for name, value in config["effects"].items() if name != "view"}
            | {"device": config["device"]},
        script:
            "../scripts/measure_effects.py"


rule effect_summary:
    input:
        effects=every_layer(EFFECT_TABLE),
        agreement=every_layer(AGREEMENT_TABLE),
        code=library("effect_summary.py"),
    output:
        summary=EFFECT_SUMMARY[0],
        tsv=EFFECT_SUMMARY[1],
        retention=EFFECT_SUMMARY[2],
        by_hook=EFFECT_SUMMARY[3],
        by_hook_tsv=EFFECT_SUMMARY[4],
    log:
        "logs/{study}/effect_summary.log",
    benchmark:
        "results/benchmarks/{study}/effect_summary.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        sae_ids=sae_ids,
        seed=config["effects"]["seed"],
    script:
        "../scripts/effect_summary.py"
