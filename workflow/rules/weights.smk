# Model and SAEs -> plain safetensors. One job a model and one a study, the only ones that import transformer_lens and
# sae_lens: they cost seconds a process.
DECODER = "results/{study}/{sae}/decoder.safetensors"
UNEMBEDDING = f"{OF_MODEL}/unembedding.safetensors"
TOKENS = f"{OF_MODEL}/tokens.parquet"
FETCHED = "results/{study}/hub_files.tsv"
FETCHED_MODEL = f"{OF_MODEL}/hub_files.tsv"
# Studies with files of the hub, by name.
FROM_HUB = {name: study for name, study in ASKED.items() if study.hub_files()}
# Lenses of the hub that views read (rules/transport.smk), and the record of each one's file.
FETCHED_LENS = "results/{study}/lenses/{view}.tsv"
HUB_LENSES = {
    (name, view): lens
    for name, study in ASKED.items()
    for view, lens in study.lenses.items()
    if lens.hub_files()
}
WEIGHTS = sorted(set(targets(UNEMBEDDING, TOKENS))) + targets(DECODER)


def source_of(wildcards):
    """The settings that say where a study's weights come from."""
    return source_of_study(wildcards.study)


def source_of_study(name):
    """The same for a study's name."""
    entry = config["studies"][name]
    return {"model": entry["model"], "saes": entry["saes"] | {"ids": ASKED[name].sae_ids}}


def source_of_lens(wildcards):
    """The settings that say where the lens of a study's view comes from."""
    return source_of_hub_lens(wildcards.study, wildcards.view)


def source_of_hub_lens(name, view):
    """The same for their names."""
    return {"model": config["studies"][name]["model"], "transport": config["views"][view]["transport"]}


def has_lost(study, record, files):
    """Whether the Hugging Face cache has lost files of a record of the study; a line says what does not agree."""
    try:
        lost, line = study.check_record(record, files)
    except FsrlError as error:
        stop(error)
    if line:
        say(line)
    return lost


def own_files(study, which="local_files"):
    """The files that lie in folders of the user's; a missing one stops only those who ask for this study."""
    try:
        return getattr(study, which)()
    except FsrlError as error:
        stop(error)


def local_files(wildcards):
    """The study's own files, an input."""
    return own_files(STUDIES[wildcards.study])


def local_model_files(wildcards):
    """Of a model's studies the files that lie in the user's folders, without their SAEs; an input."""
    return own_files(MODELS[wildcards.model], "model_files")


def model_source(wildcards):
    """The settings that say where a model comes from, whichever of its studies has them."""
    settings = config["studies"][MODELS_ASKED[wildcards.model].name]["model"]
    return {key: value for key, value in settings.items() if value is not None}


def reads_trained(model):
    """Does a view of the model's studies leave undertrained tokens out?"""
    return any(config["views"][view]["tokens"] == "trained" for view in MODEL_VIEWS[model])


def fetched(wildcards):
    """The record of what was fetched, for jobs that read a study's weights from the hub's cache."""
    return [FETCHED] if STUDIES[wildcards.study].hub_files() else []


def fetched_model(wildcards):
    """The record of the model's files, where they come from the hub."""
    model = wildcards.get("model") or MODEL_OF[wildcards.study]
    return [FETCHED_MODEL.format(model=model)] if MODELS_ASKED[model].model.hub_files() else []


def export_gpus(wildcards):
    """How many GPUs the export of a model claims: it draws directions where undertrained tokens are told by distance."""
    counted = MODELS[wildcards.model].token_counts
    return GPUS if reads_trained(wildcards.model) and not counted else 0


# Fetching imports neither torch nor the transformer libraries: without a network it ends in a second or two.
rule fetch_model:
    input:
        code=library("fetch_weights.py"),
    output:
        FETCHED_MODEL,
    log:
        "logs/models/{model}/fetch_model.log",
    wildcard_constraints:
        model=any_of(model for model, study in MODELS_ASKED.items() if study.model.hub_files()),
    threads: 1
    params:
        source=lambda wildcards: {"model": model_source(wildcards)},
    script:
        "../scripts/fetch_weights.py"


rule fetch_weights:
    input:
        model=fetched_model,
        code=library("fetch_weights.py"),
    output:
        FETCHED,
    log:
        "logs/{study}/fetch_weights.log",
    wildcard_constraints:
        study=any_of(FROM_HUB),
    threads: 1
    params:
        source=source_of,
    script:
        "../scripts/fetch_weights.py"


rule fetch_lens:
    input:
        code=library("fetch_lens.py"),
    output:
        FETCHED_LENS,
    log:
        "logs/{study}/fetch_lens/{view}.log",
    wildcard_constraints:
        study=any_of(name for name, _ in HUB_LENSES),
        view=any_of(view for _, view in HUB_LENSES),
    threads: 1
    params:
        source=source_of_lens,
    script:
        "../scripts/fetch_lens.py"


rule export_model:
    input:
        weights=local_model_files,
        fetched=fetched_model,
        code=library("export_model.py"),
    output:
        unembedding=UNEMBEDDING,
        tokens=TOKENS,
    log:
        "logs/models/{model}/export_model.log",
    benchmark:
        "results/benchmarks/models/{model}/export_model.tsv"
    threads: HALF
    resources:
        **({"gpu": export_gpus} if GPUS else {}),
        mem_mb=3000,
    params:
        device=config["device"],
        source=model_source,
        token_counts=lambda wildcards: MODELS[wildcards.model].token_counts,
        trained=lambda wildcards: config["tokens"] | {"trained": reads_trained(wildcards.model)},
    script:
        "../scripts/export_model.py"


# A rule a study, here and wherever a job writes a file for each SAE: no rule of Snakemake's has more outputs for one
# value of a wildcard than for another, and a job an SAE would load the model for each.
for study in STUDIES.values():

    rule:
        name:
            f"export_weights_{study.name}"
        input:
            weights=local_files,
            fetched=fetched,
            code=library("export_weights.py"),
        output:
            of_saes(DECODER, study),
        log:
            "logs/{study}/export_weights.log",
        benchmark:
            "results/benchmarks/{study}/export_weights.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: HALF
        resources:
            mem_mb=3000,
        params:
            source=source_of,
        script:
            "../scripts/export_weights.py"


# Record -> the settings that say where its files come from, and whether the Hugging Face cache has lost any of them.
# Tables that stand need none of them; a job that reads them has them fetched first (hub_record.restore). A job's own
# process takes all for lost: looking costs each half a second, and what has been planned goes for the job `download` alone.
RECORDS = {
    FETCHED.format(study=name): (
        source_of_study(name),
        not workflow.is_main_process or has_lost(study, FETCHED.format(study=name), study.hub_files()),
    )
    for name, study in FROM_HUB.items()
}
RECORDS |= {
    FETCHED_LENS.format(study=name, view=view): (
        source_of_hub_lens(name, view),
        not workflow.is_main_process
        or has_lost(ASKED[name], FETCHED_LENS.format(study=name, view=view), lens.hub_files()),
    )
    for (name, view), lens in HUB_LENSES.items()
}
LOST = [record for record, (_, lost) in RECORDS.items() if lost]


# The records, and where the cache has lost what they name, a job that brings it back.
if LOST:

    rule download:
        input:
            records=list(RECORDS),
            lost=LOST,
        log:
            "logs/download.log",
        threads: 1
        params:
            sources=[RECORDS[record][0] for record in LOST],
        script:
            "../scripts/download.py"

else:

    rule download:
        input:
            list(RECORDS),
