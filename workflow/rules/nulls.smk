# The moments of directions that mean nothing. Isotropic ones: one table a view, shared by the layers of all studies of a
# model. The other kinds belong to a layer. Beside the draws that bound the types lie what is kept of them (a few hundred
# quantiles, all that types need), and fresh draws, among which the types are counted that chance gives.
NULL = f"{OF_MODEL}/nulls/{{view}}.parquet"
LAYER_NULL = f"{STAGES}/null.parquet"
NULL_QUANTILES = f"{OF_MODEL}/null_quantiles/{{view}}.parquet"
LAYER_NULL_QUANTILES = f"{STAGES}/null_quantiles.parquet"
FRESH_NULL = f"{OF_MODEL}/fresh_nulls/{{view}}.parquet"
LAYER_FRESH_NULL = f"{STAGES}/fresh_null.parquet"
AXIS_SHARE = f"{STAGES}/axis_share.parquet"
ACTIVATIONS = "results/{study}/activations.safetensors"
LAYER_KINDS = [kind for kind in config["nulls"]["kinds"] if kind != "isotropic"]
NULLS = sorted(set(targets(NULL, NULL_QUANTILES, FRESH_NULL)))
NULLS += targets(LAYER_NULL, LAYER_NULL_QUANTILES, LAYER_FRESH_NULL) if LAYER_KINDS else []
# How the layers' activations vary takes the model's own forward pass.
AXIS_SHARES = [
    path.format(study=study.name)
    for study in STUDIES.values()
    if not left_out(study, "activations")
    for own in of_saes(AXIS_SHARE, study)
    for path in of_views(own, study)
]


# One job for all of a model's views, with all cores: it multiplies the directions once, and every layer waits for its
# median kurtosis. Models differ in their views, hence a rule for each.
for model, views in MODEL_VIEWS.items():

    rule:
        name:
            f"compute_null_moments_{model}"
        input:
            unembedding=UNEMBEDDING,
            code=library("compute_null_moments.py"),
        output:
            nulls=expand(NULL, view=views, allow_missing=True),
            quantiles=expand(NULL_QUANTILES, view=views, allow_missing=True),
            fresh=expand(FRESH_NULL, view=views, allow_missing=True),
        log:
            "logs/models/{model}/compute_null_moments.log",
        benchmark:
            "results/benchmarks/models/{model}/compute_null_moments.tsv"
        wildcard_constraints:
            model=re.escape(model),
        threads: HALF
        resources:
            **GPU,
            mem_mb=2000,
        params:
            device=config["device"],
            views={view: config["views"][view] for view in views},
            draws=config["nulls"]["draws"],
            fresh_draws=config["nulls"]["fresh_draws"],
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
    threads: HALF
    resources:
        **GPU,
        mem_mb=beside_model(3000),
    params:
        device=config["device"],
        model=lambda wildcards: config["studies"][wildcards.study]["model"],
        context=config["nulls"]["context"],
        max_tokens=config["nulls"]["max_tokens"],
    script:
        "../scripts/measure_activation_covariances.py"


# One job a study: a product of small matrices for each layer and view.
for study in STUDIES.values():

    rule:
        name:
            f"measure_axis_shares_{study.name}"
        input:
            decoders=of_saes(DECODER, study),
            unembedding=of_model(UNEMBEDDING),
            activations=ACTIVATIONS,
            transport=matrices_of(study, study.views),
            code=library("measure_axis_shares.py"),
        output:
            shares=[path for own in of_saes(AXIS_SHARE, study) for path in of_views(own, study)],
        log:
            "logs/{study}/measure_axis_shares.log",
        benchmark:
            "results/benchmarks/{study}/measure_axis_shares.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: ONE
        resources:
            **GPU,
            mem_mb=1500,
        params:
            device=config["device"],
            views={view: config["views"][view] for view in study.views},
        script:
            "../scripts/measure_axis_shares.py"


# All views of a layer in one job, which multiplies the directions that they share once.
for study in STUDIES.values():

    rule:
        name:
            f"compute_layer_nulls_{study.name}"
        input:
            decoders=of_job(DECODER, study),
            unembedding=of_model(UNEMBEDDING),
            nulls=of_views(at_model(NULL, study), study),
            transport=matrices_of(study, study.views),
            code=library("compute_layer_nulls.py"),
        output:
            nulls=of_job_in_views(LAYER_NULL, study),
            quantiles=of_job_in_views(LAYER_NULL_QUANTILES, study),
            fresh=of_job_in_views(LAYER_FRESH_NULL, study),
        log:
            f"logs/{job_of(study)}/compute_layer_nulls.log",
        benchmark:
            f"results/benchmarks/{job_of(study)}/compute_layer_nulls.tsv"
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
            fresh_draws=config["nulls"]["fresh_draws"],
            seed=config["nulls"]["seed"],
        script:
            "../scripts/compute_layer_nulls.py"
