# Moments, extreme tokens and histogram of every feature's logit weights: a job a layer for all of the study's views, in
# one pass over their common product. Single threads side by side use the cores better than one job after the other.
MOMENT_TABLES = ["moments", "extremes", "histograms"]
MOMENTS = targets(*(f"{STAGES}/{table}.parquet" for table in MOMENT_TABLES))


# The views are part of the outputs' names and studies differ in them, hence a rule for each.
for study in STUDIES.values():

    rule:
        name:
            f"compute_moments_{study.name}"
        input:
            decoder=DECODER,
            unembedding=UNEMBEDDING,
            nulls=of_views(NULL, study),
            code=library("compute_moments.py"),
        output:
            **{table: of_views(f"{STAGES}/{table}.parquet", study) for table in MOMENT_TABLES},
        log:
            "logs/{study}/{sae}/compute_moments.log",
        benchmark:
            "results/benchmarks/{study}/{sae}/compute_moments.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: ONE
        resources:
            mem_mb=2000,
        params:
            views={view: config["views"][view] for view in study.views},
            settings=config["moments"],
        script:
            "../scripts/compute_moments.py"
