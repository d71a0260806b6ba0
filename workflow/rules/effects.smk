# What adding features really does to the logits, beside their logit weights: one job a study measures all layers, since
# one clean run of the model and one import of transformer_lens and sae_lens then serve them all. Its outputs differ
# from study to study, hence a rule for each.
EFFECT_VIEW = config["effects"]["view"]
EFFECT_TABLE = STAGES.replace("{view}", EFFECT_VIEW) + "/effects.parquet"
EFFECT_SUMMARY = multiext(
    "results/{study}/summary/effects_", "summary.parquet", "summary.tsv", "retention.parquet"
)
EFFECT_FIGURES = expand(
    "figures/{{study}}/effects/{figure}.{format}",
    figure=["agreement", "moments", "retention"],
    format=["pdf", "png"],
)
EFFECTS = []

for study in STUDIES.values():
    if EFFECT_VIEW not in study.views:
        continue

    files = {
        name: [
            STAGES.format(study=study.name, sae=sae, view=EFFECT_VIEW) + f"/{name}.parquet"
            for sae in study.sae_ids
        ]
        for name in ("moments", "types", "null", "effects")
    }
    EFFECTS += files["effects"]
    EFFECTS += [path.format(study=study.name) for path in (*EFFECT_SUMMARY, *EFFECT_FIGURES)]

    rule:
        name:
            f"effects_{study.name}"
        input:
            weights=local_files(study),
            fetched=fetched(study),
            decoders=[DECODER.format(study=study.name, sae=sae) for sae in study.sae_ids],
            unembedding=UNEMBEDDING.format(study=study.name),
            moments=files["moments"],
            types=files["types"],
            null=NULL.format(study=study.name, view=EFFECT_VIEW),
            layer_nulls=files["null"] if LAYER_KINDS else [],
            text=study.evaluation_text,
            code=library("effects.py"),
        output:
            files["effects"],
        log:
            f"logs/{study.name}/effects.log",
        benchmark:
            f"results/benchmarks/{study.name}/effects.tsv"
        threads: ALL
        resources:
            # GPT-2 small on a CPU; mini takes half.
            mem_mb=3000,
        params:
            source=source_of(study),
            view=config["views"][EFFECT_VIEW],
            scheme=config["types"]["default_scheme"],
            schemes=config["types"]["schemes"],
            settings={name: value for name, value in config["effects"].items() if name != "view"},
        script:
            "../scripts/effects.py"


rule effect_figures:
    input:
        effects=every_layer(EFFECT_TABLE),
        code=library("effect_figures.py"),
    output:
        in_report(EFFECT_FIGURES),
        summary=EFFECT_SUMMARY[0],
        tsv=EFFECT_SUMMARY[1],
        retention=EFFECT_SUMMARY[2],
    log:
        "logs/{study}/effect_figures.log",
    benchmark:
        "results/benchmarks/{study}/effect_figures.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        title=lambda wildcards: f"{STUDIES[wildcards.study].title} · view {EFFECT_VIEW}",
        sae_ids=lambda wildcards: STUDIES[wildcards.study].sae_ids,
        seed=config["effects"]["seed"],
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/effect_figures.py"
