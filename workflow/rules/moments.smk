# Moments, extreme tokens and histogram of every feature's logit weights: a job a layer for all of the study's views, in
# one pass over their common product. The views are part of the outputs' names, hence a rule for each study. Single
# threads side by side use the cores better than one job after the other.
MOMENT_TABLES = ["moments", "extremes", "histograms"]
MOMENTS = targets(*(f"{STAGES}/{table}.parquet" for table in MOMENT_TABLES))


for study in STUDIES.values():

    rule:
        name:
            f"moments_{study.name}"
        input:
            decoder=DECODER.replace("{study}", study.name),
            unembedding=UNEMBEDDING.format(study=study.name),
            nulls=of_views(study, NULL),
            code=library("moments.py"),
        output:
            **{table: of_views(study, f"{STAGES}/{table}.parquet") for table in MOMENT_TABLES},
        log:
            f"logs/{study.name}/{{sae}}/moments.log",
        benchmark:
            f"results/benchmarks/{study.name}/{{sae}}/moments.tsv"
        threads: ONE
        resources:
            mem_mb=2000,
        params:
            views={view: config["views"][view] for view in study.views},
            settings=config["moments"],
        script:
            "../scripts/moments.py"
