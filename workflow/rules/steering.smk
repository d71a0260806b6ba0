# Which features steer a model, and whether what follows is what the weights of those that fire say. Of the studies whose effects are measured, in the same view, on the same text.
STEERING_TABLE = "results/{study}/{sae}/steering.parquet"
NEXT_TOKEN_TABLE = "results/{study}/{sae}/next_token.parquet"
STEERING_SUMMARIES = multiext("results/{study}/summary/", "steering.parquet", "next_token.parquet")
STEERED = [study for study in MEASURED if not left_out(study, "steering")]
STEERING = [
    path.format(study=study.name)
    for study in STEERED
    for path in [*of_saes(STEERING_TABLE, study), *of_saes(NEXT_TOKEN_TABLE, study), *STEERING_SUMMARIES]
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
        log:
            "logs/{study}/measure_steering.log",
        benchmark:
            "results/benchmarks/{study}/measure_steering.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: ALL
        resources:
            **GPU,
            mem_mb=3000,
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
