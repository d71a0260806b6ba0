# Which features steer a model. Of the studies whose effects are measured, in the same view, on the same text.
STEERING_TABLE = "results/{study}/{sae}/steering.parquet"
STEERING_FORECASTS = "results/{study}/summary/steering.parquet"
STEERED = [study for study in MEASURED if not left_out(study, "steering")]
STEERING = [
    path.format(study=study.name)
    for study in STEERED
    for path in [*of_saes(STEERING_TABLE, study), STEERING_FORECASTS]
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
            of_saes(STEERING_TABLE, study),
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
        code=library("summarise_steering.py"),
    output:
        forecasts=STEERING_FORECASTS,
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
