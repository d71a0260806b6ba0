# Moments -> type labels under every scheme, and how many of each chance gives.
TYPE_TABLES = ["types", "type_counts", "type_null_counts", "thresholds"]
TYPES = targets(*(f"{STAGES}/{table}.parquet" for table in TYPE_TABLES))
SUMMARY = "results/{study}/summary/{view}.tsv"
SUMMARIES = sorted(set(targets(SUMMARY, views="figure_views")))


def read_by_schemes(pattern):
    """An input function: the pattern for the view being typed, then for the views that schemes name."""
    return lambda wildcards: expand(
        pattern, view=settings.views_read(config, wildcards.view), allow_missing=True
    )


rule assign_types:
    input:
        moments=read_by_schemes(f"{STAGES}/moments.parquet"),
        nulls=read_by_schemes(NULL),
        layer_nulls=read_by_schemes(LAYER_NULL) if LAYER_KINDS else [],
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
    script:
        "../scripts/assign_types.py"


rule summarise_types:
    input:
        moments=every_layer(f"{STAGES}/moments.parquet"),
        type_counts=every_layer(f"{STAGES}/type_counts.parquet"),
        null=NULL,
        layer_nulls=every_layer(LAYER_NULL) if LAYER_KINDS else [],
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
