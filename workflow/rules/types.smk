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


# One job a study: an SAE takes less than the start of a job.
for study in STUDIES.values():

    rule:
        name:
            f"cluster_features_{study.name}"
        input:
            decoders=of_saes(DECODER, study),
            code=library("cluster_features.py"),
        output:
            of_saes(CLUSTERS, study),
        log:
            "logs/{study}/cluster_features.log",
        benchmark:
            "results/benchmarks/{study}/cluster_features.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: HALF
        resources:
            **GPU,
            mem_mb=1500,
        params:
            device=config["device"],
            threshold=config["enrichment"]["cluster_cosine"],
        script:
            "../scripts/cluster_features.py"


# All views of a layer in one job: a scheme with a view of its own is counted once for all of them.
for study in STUDIES.values():

    rule:
        name:
            f"assign_types_{study.name}"
        input:
            moments=of_job_in_views(f"{STAGES}/moments.parquet", study),
            quantiles=of_views(at_model(NULL_QUANTILES, study), study),
            layer_quantiles=of_job_in_views(LAYER_NULL_QUANTILES, study) if LAYER_KINDS else [],
            fresh=of_views(at_model(FRESH_NULL, study), study),
            layer_fresh=of_job_in_views(LAYER_FRESH_NULL, study) if LAYER_KINDS else [],
            clusters=of_job(CLUSTERS, study),
            code=library("assign_types.py"),
        output:
            **{table: of_job_in_views(f"{STAGES}/{table}.parquet", study) for table in TYPE_TABLES},
        log:
            f"logs/{job_of(study)}/assign_types.log",
        benchmark:
            f"results/benchmarks/{job_of(study)}/assign_types.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: ONE
        resources:
            mem_mb=1000,
        params:
            views=study.views,
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
