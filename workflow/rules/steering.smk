# Which features steer a model, and whether what follows is what the weights of those that fire say. Of the studies whose
# effects are measured, in the same view, on the same text, where the model has GPT-2's blocks.
STEERING_TABLE = "results/{study}/{sae}/steering.parquet"
NEXT_TOKEN_TABLE = "results/{study}/{sae}/next_token.parquet"
PATHS_TABLE = "results/{study}/{sae}/paths.parquet"
CONFIDENCE_TABLE = "results/{study}/{sae}/confidence.parquet"
STEERING_SUMMARIES = multiext("results/{study}/summary/", "steering.parquet", "next_token.parquet")
STEERED = [study for study in MEASURED if not left_out(study, "steering")]
STEERING = [
    path.format(study=study.name)
    for study in STEERED
    for table in (STEERING_TABLE, NEXT_TOKEN_TABLE, PATHS_TABLE)
    for path in of_saes(table, study)
]
STEERING += [path.format(study=study.name) for study in STEERED for path in STEERING_SUMMARIES]
# Weights alone, of every study with that view, whatever its model.
CONFIDENT = [study for study in STUDIES.values() if EFFECT_VIEW in study.views]
CONFIDENCE = [
    path.format(study=study.name) for study in CONFIDENT for path in of_saes(CONFIDENCE_TABLE, study)
]


# One job a study, as for its effects: one clean run of the model serves all layers.
for study in STEERED:

    rule:
        name:
            f"measure_steering_{study.name}"
        input:
            weights=local_files,
            fetched=fetched,
            decoders=of_saes(DECODER, study),
            unembedding=of_model(UNEMBEDDING),
            moments=in_effect_view("moments", study),
            types=in_effect_view("types", study),
            transport=transport_of(study),
            text=evaluation_text,
            code=library("measure_steering.py"),
        output:
            steering=of_saes(STEERING_TABLE, study),
            next_token=of_saes(NEXT_TOKEN_TABLE, study),
            paths=of_saes(PATHS_TABLE, study),
        log:
            "logs/{study}/measure_steering.log",
        benchmark:
            "results/benchmarks/{study}/measure_steering.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: HALF
        resources:
            **GPU,
            mem_mb=beside_model(3000),
        params:
            source=source_of,
            view=config["views"][EFFECT_VIEW],
            scheme=config["types"]["default_scheme"],
            steering=config["steering"],
            settings={name: value for name, value in config["effects"].items() if name != "view"}
            | {"device": config["device"]},
        script:
            "../scripts/measure_steering.py"


rule summarise_steering:
    input:
        steering=every_layer(STEERING_TABLE),
        next_token=every_layer(NEXT_TOKEN_TABLE),
        code=library("summarise_steering.py"),
    output:
        forecasts=STEERING_SUMMARIES[0],
        next_token=STEERING_SUMMARIES[1],
    log:
        "logs/{study}/summarise_steering.log",
    benchmark:
        "results/benchmarks/{study}/summarise_steering.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        sae_ids=sae_ids,
        seed=config["effects"]["seed"],
    script:
        "../scripts/summarise_steering.py"


# A few seconds for all of a study's SAEs.
for study in CONFIDENT:

    rule:
        name:
            f"measure_confidence_{study.name}"
        input:
            decoders=of_saes(DECODER, study),
            unembedding=of_model(UNEMBEDDING),
            transport=transport_of(study),
            code=library("measure_confidence.py"),
        output:
            of_saes(CONFIDENCE_TABLE, study),
        log:
            "logs/{study}/measure_confidence.log",
        benchmark:
            "results/benchmarks/{study}/measure_confidence.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: ONE
        resources:
            **GPU,
            mem_mb=2000,
        params:
            device=config["device"],
            view=config["views"][EFFECT_VIEW],
            null_space=config["confidence"]["null_space"],
            seed=config["confidence"]["seed"],
        script:
            "../scripts/measure_confidence.py"
