# Model and SAEs -> plain safetensors. One job a study, the only one that imports transformer_lens and sae_lens: they
# cost seconds a process. Its outputs differ from study to study, hence a rule for each.
DECODER = "results/{study}/{sae}/decoder.safetensors"
UNEMBEDDING = "results/{study}/unembedding.safetensors"
TOKENS = "results/{study}/tokens.parquet"
FETCHED = "results/{study}/hub_files.tsv"
WEIGHTS = []


def source_of(study):
    """The settings that say where a study's weights come from, for params."""
    entry = config["studies"][study.name]
    return {"model": entry["model"], "saes": entry["saes"] | {"ids": study.sae_ids}}


def local_files(study):
    """An input function, so that a missing file stops only those who ask for this study."""

    def files(wildcards):
        try:
            return study.local_files()
        except FsrlError as error:
            stop(error)

    return files


def fetched(study):
    """The record of what was fetched, for jobs that read a study's weights from the hub's cache."""
    return [FETCHED.format(study=study.name)] if study.hub_files() else []


# Fetching imports neither torch nor the transformer libraries: without a network it ends in a second or two.
for study in ASKED:
    if study.hub_files():

        rule:
            name:
                f"fetch_weights_{study.name}"
            input:
                code=library("fetch_weights.py"),
            output:
                FETCHED.format(study=study.name),
            log:
                f"logs/{study.name}/fetch_weights.log",
            threads: 1
            params:
                source=source_of(study),
            script:
                "../scripts/fetch_weights.py"


for study in STUDIES.values():
    decoders = [DECODER.format(study=study.name, sae=sae) for sae in study.sae_ids]
    WEIGHTS += [UNEMBEDDING.format(study=study.name), TOKENS.format(study=study.name), *decoders]

    rule:
        name:
            f"export_weights_{study.name}"
        input:
            weights=local_files(study),
            fetched=fetched(study),
            code=library("export_weights.py"),
        output:
            unembedding=UNEMBEDDING.format(study=study.name),
            tokens=TOKENS.format(study=study.name),
            decoders=decoders,
        log:
            f"logs/{study.name}/export_weights.log",
        benchmark:
            f"results/benchmarks/{study.name}/export_weights.tsv"
        threads: ALL
        resources:
            mem_mb=3000,
        params:
            study=study.name,
            source=source_of(study),
            token_counts=study.token_counts,
            trained=config["tokens"],
        script:
            "../scripts/export_weights.py"


rule download:
    input:
        [FETCHED.format(study=study.name) for study in ASKED if study.hub_files()],
