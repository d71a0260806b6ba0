# Moments -> type labels under every scheme, and how many of each chance gives.
TYPE_TABLES = ["types", "type_counts", "type_null_counts", "thresholds"]
TYPES = targets(*(f"{STAGES}/{table}.parquet" for table in TYPE_TABLES))

SUMMARIES = sorted(
    {f"results/{name}/summary/{view}.tsv" for name, study in STUDIES.items() for view in study.figure_views}
)


def read_by_schemes(pattern):
    """An input function: the pattern for the view being typed, then for the views that schemes name."""

    def files(wildcards):
        views = settings.views_read(config, wildcards.view)
        return expand(pattern, view=views, allow_missing=True)

    return files


rule types:
    input:
        moments=read_by_schemes(f"{STAGES}/moments.parquet"),
        nulls=read_by_schemes(NULL),
        layer_nulls=read_by_schemes(LAYER_NULL) if LAYER_KINDS else [],
        code=library("types.py"),
    output:
        **{table: f"{STAGES}/{table}.parquet" for table in TYPE_TABLES},
    log:
        "logs/{study}/{sae}/{view}/types.log",
    benchmark:
        "results/benchmarks/{study}/{sae}/{view}/types.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        views=lambda wildcards: settings.views_read(config, wildcards.view),
        schemes=config["types"]["schemes"],
    script:
        "../scripts/types.py"


rule summary:
    input:
        moments=every_layer(f"{STAGES}/moments.parquet"),
        type_counts=every_layer(f"{STAGES}/type_counts.parquet"),
        null=NULL,
        layer_nulls=every_layer(LAYER_NULL) if LAYER_KINDS else [],
        code=library("summary.py"),
    output:
        "results/{study}/summary/{view}.tsv",
    log:
        "logs/{study}/summary/{view}.log",
    benchmark:
        "results/benchmarks/{study}/summary/{view}.tsv"
    threads: ONE
    params:
        sae_ids=lambda wildcards: STUDIES[wildcards.study].sae_ids,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/summary.py"
