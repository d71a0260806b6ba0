# Moments -> type labels under every scheme, how far each tail is beyond chance, and how many of each type chance gives.
TYPE_TABLES = ["types", "tails", "tail_calibration", "type_counts", "type_null_counts", "thresholds"]
TYPES = targets(*(f"{STAGES}/{table}.parquet" for table in TYPE_TABLES))
CLUSTERS = "results/{study}/{sae}/clusters.parquet"
SUMMARY = "results/{study}/summary/{view}.tsv"
SUMMARIES = sorted(set(targets(SUMMARY, views="figure_views")))


def read_by_schemes(pattern):
    """An input function: the pattern for the view being typed, then for the views that schemes name."""
    return lambda wildcards: expand(
        at_model(pattern, STUDIES[wildcards.study]),
        view=settings.views_read(config, wildcards.view),
        allow_missing=True,
    )


rule cluster_features:
    input:
        decoder=DECODER,
        code=library("cluster_features.py"),
    output:
        CLUSTERS,
    log:
        "logs/{study}/{sae}/cluster_features.log",
    benchmark:
        "results/benchmarks/{study}/{sae}/cluster_features.tsv"
    threads: ONE
    resources:
        mem_mb=1500,
    params:
        threshold=config["enrichment"]["cluster_cosine"],
    script:
        "../scripts/cluster_features.py"


rule assign_types:
    input:
        moments=read_by_schemes(f"{STAGES}/moments.parquet"),
        quantiles=all_of_model(NULL_QUANTILES, *([LAYER_NULL_QUANTILES] if LAYER_KINDS else [])),
        fresh=read_by_schemes(FRESH_NULL),
        layer_fresh=read_by_schemes(LAYER_FRESH_NULL) if LAYER_KINDS else [],
        clusters=CLUSTERS,
        code=library("assign_types.py"),
    output:
        **{table: f"{STAGES}/{table}.parquet" for table in TYPE_TABLES},
    log:
        "logs/{study}/{sae}/{view}/assign_types.log",
    benchmark:
        "results/benchmarks/{study}/{sae}/{view}/assign_types.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        views=lambda wildcards: settings.views_read(config, wildcards.view),
        schemes=config["types"]["schemes"],
        seed=config["nulls"]["seed"],
    script:
        "../scripts/assign_types.py"


rule summarise_types:
    input:
        moments=every_layer(f"{STAGES}/moments.parquet"),
        type_counts=every_layer(f"{STAGES}/type_counts.parquet"),
        quantiles=of_model(NULL_QUANTILES),
        layer_quantiles=every_layer(LAYER_NULL_QUANTILES) if LAYER_KINDS else [],
        code=library("summarise_types.py"),
    output:
        SUMMARY,
    log:
        "logs/{study}/summarise_types/{view}.log",
    benchmark:
        "results/benchmarks/{study}/summarise_types/{view}.tsv"
    threads: ONE
    params:
        sae_ids=sae_ids,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/summarise_types.py"
