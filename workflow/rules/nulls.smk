# The moments of directions that mean nothing. Isotropic ones: one table a view, shared by the study's layers. The other
# kinds belong to a layer, and one of them needs to know how the layer's activations vary on a text.
NULL = "results/{study}/nulls/{view}.parquet"
LAYER_NULL = f"{STAGES}/null.parquet"
ACTIVATIONS = "results/{study}/activations.safetensors"
LAYER_KINDS = [kind for kind in config["nulls"]["kinds"] if kind != "isotropic"]
NULLS = sorted(set(targets(NULL))) + (targets(LAYER_NULL) if LAYER_KINDS else [])


# One job for all of a study's views, with all cores: it multiplies the directions once, and every layer waits for its
# median kurtosis. Studies differ in their views, hence a rule for each.
for study in STUDIES.values():

    rule:
        name:
            f"compute_null_moments_{study.name}"
        input:
            unembedding=UNEMBEDDING,
            code=library("compute_null_moments.py"),
        output:
            nulls=of_views(NULL, study),
        log:
            "logs/{study}/compute_null_moments.log",
        benchmark:
            "results/benchmarks/{study}/compute_null_moments.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: ALL
        resources:
            **GPU,
            mem_mb=2000,
        params:
            device=config["device"],
            views={view: config["views"][view] for view in study.views},
            draws=config["nulls"]["draws"],
            seed=config["nulls"]["seed"],
        script:
            "../scripts/compute_null_moments.py"


rule measure_activation_covariances:
    input:
        weights=local_files,
        fetched=fetched,
        decoders=every_layer(DECODER),
        text=evaluation_text,
        code=library("measure_activation_covariances.py"),
    output:
        ACTIVATIONS,
    log:
        "logs/{study}/measure_activation_covariances.log",
    benchmark:
        "results/benchmarks/{study}/measure_activation_covariances.tsv"
    threads: ALL
    resources:
        **GPU,
        mem_mb=3000,
    params:
        device=config["device"],
        model=lambda wildcards: config["studies"][wildcards.study]["model"],
        context=config["nulls"]["context"],
        max_tokens=config["nulls"]["max_tokens"],
    script:
        "../scripts/measure_activation_covariances.py"


# All views of a layer in one job, which multiplies the directions that they share once.
for study in STUDIES.values():

    rule:
        name:
            f"compute_layer_nulls_{study.name}"
        input:
            decoders=of_job(DECODER, study),
            unembedding=UNEMBEDDING,
            nulls=of_views(NULL, study),
            activations=[ACTIVATIONS] if "activations" in LAYER_KINDS else [],
            code=library("compute_layer_nulls.py"),
        output:
            nulls=of_job_in_views(LAYER_NULL, study),
        log:
            f"logs/{JOB}/compute_layer_nulls.log",
        benchmark:
            f"results/benchmarks/{JOB}/compute_layer_nulls.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: ONE
        resources:
            **GPU,
            mem_mb=2000,
        params:
            device=config["device"],
            views={view: config["views"][view] for view in study.views},
            kinds=LAYER_KINDS,
            draws=config["nulls"]["layer_draws"],
            seed=config["nulls"]["seed"],
        script:
            "../scripts/compute_layer_nulls.py"
