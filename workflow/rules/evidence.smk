# What the types are worth: token sets and which of them features promote or suppress, the published claims put to the
# test, what the thresholds decide, and whether planted types are found again.
TOKEN_SETS = "results/{study}/token_sets.parquet"
ENRICHMENT = f"{STAGES}/enrichment.parquet"
BEST_SETS = f"{STAGES}/best_sets.parquet"
DISCOVERIES = "results/{study}/discoveries/{view}.parquet"


def enriched_views(study):
    """The study's views whose enrichment is computed."""
    wanted = config["enrichment"]["views"]
    return study.figure_views if wanted is None else [view for view in study.views if view in wanted]


def in_enriched_views(*patterns):
    """The patterns for every study and view with enrichment, and each of the study's SAEs where they name one."""
    return [
        path
        for study in STUDIES.values()
        for view in enriched_views(study)
        for pattern in patterns
        for path in dict.fromkeys(
            pattern.format(study=study.name, view=view, sae=sae) for sae in study.sae_ids
        )
    ]


EVIDENCE = [TOKEN_SETS.format(study=study.name) for study in STUDIES.values() if enriched_views(study)]
EVIDENCE += in_enriched_views(
    ENRICHMENT, BEST_SETS, f"{STAGES}/scores.parquet", f"{STAGES}/odds_ratios.parquet", DISCOVERIES
)


rule token_sets:
    input:
        unembedding=UNEMBEDDING,
        code=library("token_sets.py"),
    output:
        sets=TOKEN_SETS,
        list="results/{study}/token_set_list.tsv",
    log:
        "logs/{study}/token_sets.log",
    benchmark:
        "results/benchmarks/{study}/token_sets.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        extra=config["token_sets"]["extra"],
    script:
        "../scripts/token_sets.py"


rule enrichment:
    input:
        decoder=DECODER,
        unembedding=UNEMBEDDING,
        sets=TOKEN_SETS,
        code=library("enrichment.py"),
    output:
        ENRICHMENT,
    log:
        "logs/{study}/{sae}/{view}/enrichment.log",
    benchmark:
        "results/benchmarks/{study}/{sae}/{view}/enrichment.tsv"
    threads: ONE
    resources:
        mem_mb=2000,
    params:
        view=view_options,
    script:
        "../scripts/enrichment.py"


# The false discovery rate is one over all layers; what follows from it is written layer by layer.
for study in STUDIES.values():

    rule:
        name:
            f"enrichment_{study.name}"
        input:
            enrichment=expand(ENRICHMENT, study=study.name, sae=study.sae_ids, allow_missing=True),
            decoders=expand(DECODER, study=study.name, sae=study.sae_ids),
            types=expand(f"{STAGES}/types.parquet", study=study.name, sae=study.sae_ids, allow_missing=True),
            unembedding=UNEMBEDDING.format(study=study.name),
            sets=TOKEN_SETS.format(study=study.name),
            code=library("enrichment_study.py"),
        output:
            **{
                table: expand(
                    f"{STAGES}/{table}.parquet", study=study.name, sae=study.sae_ids, allow_missing=True
                )
                for table in ("best_sets", "odds_ratios", "scores")
            },
            discoveries=expand(DISCOVERIES, study=study.name, allow_missing=True)[0],
        log:
            f"logs/{study.name}/enrichment/{{view}}.log",
        benchmark:
            f"results/benchmarks/{study.name}/enrichment/{{view}}.tsv"
        threads: ALL
        resources:
            mem_mb=3000,
        params:
            view=view_options,
            sae_ids=study.sae_ids,
            scheme=config["types"]["default_scheme"],
            settings={key: value for key, value in config["enrichment"].items() if key != "views"},
        script:
            "../scripts/enrichment_study.py"


CLAIMS = "results/{study}/claims/{view}.parquet"
EVIDENCE += in_enriched_views(CLAIMS)


rule claims:
    input:
        enrichment=every_layer(ENRICHMENT),
        best_sets=every_layer(BEST_SETS),
        discoveries=DISCOVERIES,
        moments=every_layer(f"{STAGES}/moments.parquet"),
        types=every_layer(f"{STAGES}/types.parquet"),
        decoders=every_layer(DECODER),
        unembedding=UNEMBEDDING,
        code=library("claims.py"),
    output:
        claims=CLAIMS,
        dips="results/{study}/claims/{view}_dips.parquet",
        verdicts="results/{study}/claims/{view}.tsv",
    log:
        "logs/{study}/claims/{view}.log",
    benchmark:
        "results/benchmarks/{study}/claims/{view}.tsv"
    threads: ONE
    resources:
        mem_mb=2000,
    params:
        view=view_options,
        sae_ids=lambda wildcards: STUDIES[wildcards.study].sae_ids,
        schemes=config["types"]["schemes"],
        bootstrap=config["enrichment"]["bootstrap"],
        settings=config["claims"],
    script:
        "../scripts/claims.py"


SENSITIVITY = "results/{study}/sensitivity/{view}.parquet"
EVIDENCE += in_enriched_views(SENSITIVITY)


def layers_and_views(pattern, views):
    """An input function: the pattern for each SAE in turn, and for each of views(wildcards)."""
    return lambda wildcards: expand(
        pattern, sae=STUDIES[wildcards.study].sae_ids, view=views(wildcards), allow_missing=True
    )


def read_views(wildcards):
    return settings.views_read(config, wildcards.view)


def every_view(wildcards):
    return STUDIES[wildcards.study].views


rule sensitivity:
    input:
        moments=layers_and_views(f"{STAGES}/moments.parquet", read_views),
        nulls=read_by_schemes(NULL),
        layer_nulls=layers_and_views(LAYER_NULL, read_views) if LAYER_KINDS else [],
        types=layers_and_views(f"{STAGES}/types.parquet", every_view),
        type_counts=every_layer(f"{STAGES}/type_counts.parquet"),
        best_sets=every_layer(BEST_SETS),
        decoders=every_layer(DECODER),
        code=library("sensitivity.py"),
    output:
        **{
            table: f"results/{{study}}/sensitivity/{{view}}_{table}.parquet"
            for table in ("agreement", "stability", "persistence")
        },
        sensitivity=SENSITIVITY,
    log:
        "logs/{study}/sensitivity/{view}.log",
    benchmark:
        "results/benchmarks/{study}/sensitivity/{view}.tsv"
    threads: ONE
    resources:
        mem_mb=3000,
    params:
        views=read_views,
        every_view=every_view,
        sae_ids=lambda wildcards: STUDIES[wildcards.study].sae_ids,
        schemes=config["types"]["schemes"],
        factors=config["sensitivity"],
        cosine=config["enrichment"]["cluster_cosine"],
    script:
        "../scripts/sensitivity.py"


PLANTED = multiext("results/{study}/planted/", "recovery.parquet", "recovery_by_set.parquet")
EVIDENCE += [
    path.format(study=name) for name in STUDIES if name in config["planted"]["studies"] for path in PLANTED
]


rule planted_recovery:
    input:
        tokens=TOKENS,
        code=library("planted_recovery.py"),
    output:
        recovery=PLANTED[0],
        by_set=PLANTED[1],
    log:
        "logs/{study}/planted_recovery.log",
    benchmark:
        "results/benchmarks/{study}/planted_recovery.tsv"
    threads: ONE
    resources:
        mem_mb=2000,
    params:
        schemes=config["types"]["schemes"],
        settings={key: value for key, value in config["planted"].items() if key != "studies"},
    script:
        "../scripts/planted_recovery.py"
