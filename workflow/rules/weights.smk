# Model and SAEs -> plain safetensors. One job a study, the only one that imports transformer_lens and sae_lens: they
# cost seconds a process.
DECODER = "results/{study}/{sae}/decoder.safetensors"
UNEMBEDDING = "results/{study}/unembedding.safetensors"
TOKENS = "results/{study}/tokens.parquet"
FETCHED = "results/{study}/hub_files.tsv"
# Studies with files of the hub, by name.
FROM_HUB = {name: study for name, study in ASKED.items() if study.hub_files()}
WEIGHTS = sorted(set(targets(UNEMBEDDING, TOKENS))) + targets(DECODER)


def source_of(wildcards):
    """The settings that say where a study's weights come from."""
    return source_of_study(wildcards.study)


def source_of_study(name):
    """The same for a study's name."""
    entry = config["studies"][name]
    return {"model": entry["model"], "saes": entry["saes"] | {"ids": ASKED[name].sae_ids}}


def has_lost(study):
    """Whether the Hugging Face cache has lost files of the study's record; a line says what does not agree."""
    try:
        lost, line = study.check_record(FETCHED.format(study=study.name))
    except FsrlError as error:
        stop(error)
    if line:
        say(line)
    return lost


def own_files(study):
    """The files that lie in folders of the user's; a missing one stops only those who ask for this study."""
    try:
        return study.local_files()
    except FsrlError as error:
        stop(error)


def local_files(wildcards):
    """The study's own files, an input."""
    return own_files(STUDIES[wildcards.study])


def reads_trained(study):
    """Does a view of the study leave undertrained tokens out?"""
    return any(config["views"][view]["tokens"] == "trained" for view in study.views)


def fetched(wildcards):
    """The record of what was fetched, for jobs that read a study's weights from the hub's cache."""
    return [FETCHED] if STUDIES[wildcards.study].hub_files() else []


# Fetching imports neither torch nor the transformer libraries: without a network it ends in a second or two.
rule fetch_weights:
    input:
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
            unembedding=UNEMBEDDING,
            tokens=TOKENS,
            decoders=of_saes(DECODER, study),
        log:
            "logs/{study}/export_weights.log",
        benchmark:
            "results/benchmarks/{study}/export_weights.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: ALL
        resources:
            **(GPU if reads_trained(study) and not study.token_counts else {}),
            mem_mb=3000,
        params:
            device=config["device"],
            source=source_of,
            token_counts=study.token_counts,
            trained=config["tokens"] | {"trained": reads_trained(study)},
        script:
            "../scripts/export_weights.py"


# Studies whose record names files that the Hugging Face cache has lost. Tables that stand need none of them; a job that
# reads them has them fetched first (hub_record.restore). A job's own process takes all for lost: looking costs each half
# a second, and what has been planned goes for the job `download` alone.
LOST = [name for name, study in FROM_HUB.items() if not workflow.is_main_process or has_lost(study)]


# The records, and where the cache has lost what they name, a job that brings it back.
if LOST:

    rule download:
        input:
            records=[FETCHED.format(study=name) for name in FROM_HUB],
            lost=[FETCHED.format(study=name) for name in LOST],
        log:
            "logs/download.log",
        threads: 1
        params:
            sources=[source_of_study(name) for name in LOST],
        script:
            "../scripts/download.py"

else:

    rule download:
        input:
            [FETCHED.format(study=name) for name in FROM_HUB],
