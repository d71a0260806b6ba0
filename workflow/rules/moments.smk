# Moments, extreme tokens and histogram of every feature's logit weights, in all of the study's views by one pass over their
# common product.
MOMENT_TABLES = ["moments", "extremes", "histograms"]
MOMENTS = targets(*(f"{STAGES}/{table}.parquet" for table in MOMENT_TABLES))


# The views are part of the outputs' names and studies differ in them, hence a rule for each.
for study in STUDIES.values():

    rule:
        name:
            f"compute_moments_{study.name}"
        input:
            decoders=of_job(DECODER, study),
            unembedding=of_model(UNEMBEDDING),
            nulls=of_views(at_model(NULL, study), study),
            transport=matrices_of(study, study.views),
            layer_nulls=[
                path
                for own in of_job(LAYER_NULL, study)
                for path in expand(own, view=carried_views(study), allow_missing=True)
            ],
            code=library("compute_moments.py"),
        output:
            **{table: of_job_in_views(f"{STAGES}/{table}.parquet", study) for table in MOMENT_TABLES},
        log:
            f"logs/{job_of(study)}/compute_moments.log",
        benchmark:
            f"results/benchmarks/{job_of(study)}/compute_moments.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: ONE
        resources:
            **GPU,
            mem_mb=2000,
        params:
            device=config["device"],
            views={view: config["views"][view] for view in study.views},
            settings=config["moments"],
        script:
            "../scripts/compute_moments.py"
