# The moments of directions that mean nothing. Isotropic ones: one table a view, shared by the study's layers. The other
# kinds belong to a layer, and one of them needs to know how the layer's activations vary on a text.
NULL = "results/{study}/nulls/{view}.parquet"
LAYER_NULL = f"{STAGES}/null.parquet"
ACTIVATIONS = "results/{study}/activations.safetensors"
LAYER_KINDS = [kind for kind in config["nulls"]["kinds"] if kind != "isotropic"]
NULLS = sorted(set(targets(NULL))) + (targets(LAYER_NULL) if LAYER_KINDS else [])


for study in STUDIES.values():

    # One job for all of the study's views, with all cores: every layer waits for its median kurtosis.
    rule:
        name:
            f"null_moments_{study.name}"
        input:
            unembedding=UNEMBEDDING.format(study=study.name),
            code=library("null_moments.py"),
        output:
            nulls=of_views(study, NULL),
        log:
            f"logs/{study.name}/null_moments.log",
        benchmark:
            f"results/benchmarks/{study.name}/null_moments.tsv"
        threads: ALL
        resources:
            mem_mb=2000,
        params:
            views={view: config["views"][view] for view in study.views},
            draws=config["nulls"]["draws"],
            seed=config["nulls"]["seed"],
        script:
            "../scripts/null_moments.py"

    rule:
        name:
            f"activation_covariances_{study.name}"
        input:
            weights=local_files(study),
            fetched=fetched(study),
            decoders=[DECODER.format(study=study.name, sae=sae) for sae in study.sae_ids],
            text=study.evaluation_text,
            code=library("activation_covariances.py"),
        output:
            ACTIVATIONS.format(study=study.name),
        log:
            f"logs/{study.name}/activation_covariances.log",
        benchmark:
            f"results/benchmarks/{study.name}/activation_covariances.tsv"
        threads: ALL
        resources:
            mem_mb=3000,
        params:
            model=config["studies"][study.name]["model"],
            context=config["nulls"]["context"],
            max_tokens=config["nulls"]["max_tokens"],
        script:
            "../scripts/activation_covariances.py"


rule layer_nulls:
    input:
        decoder=DECODER,
        unembedding=UNEMBEDDING,
        null=NULL,
        activations=[ACTIVATIONS] if "activations" in LAYER_KINDS else [],
        code=library("layer_nulls.py"),
    output:
        null=LAYER_NULL,
    log:
        "logs/{study}/{sae}/{view}/layer_nulls.log",
    benchmark:
        "results/benchmarks/{study}/{sae}/{view}/layer_nulls.tsv"
    threads: ONE
    resources:
        mem_mb=2000,
    params:
        view=view_options,
        kinds=LAYER_KINDS,
        draws=config["nulls"]["layer_draws"],
        seed=config["nulls"]["seed"],
    script:
        "../scripts/layer_nulls.py"
