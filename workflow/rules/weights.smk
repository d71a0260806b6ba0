# Model and SAEs -> plain safetensors. One job a study, the only one that imports transformer_lens and sae_lens: they
# cost seconds a process. Its outputs differ from study to study, hence a rule for each.
DECODER = "results/{study}/{sae}/decoder.safetensors"
UNEMBEDDING = "results/{study}/unembedding.safetensors"
TOKENS = "results/{study}/tokens.parquet"
WEIGHTS = []


def weight_files(study):
    """An input function, so that a missing file stops only those who ask for this study."""

    def files(wildcards):
        try:
            return settings.weight_files(study, STUDIES[study])
        except FsrlError as error:
            stop(error)

    return files


for study in STUDIES:
    decoders = [DECODER.format(study=study, sae=sae) for sae in STUDIES[study]["sae_ids"]]
    WEIGHTS += [UNEMBEDDING.format(study=study), TOKENS.format(study=study), *decoders]

    rule:
        name:
            f"export_weights_{study}"
        input:
            weights=weight_files(study),
            code=library("export_weights.py"),
        output:
            unembedding=UNEMBEDDING.format(study=study),
            tokens=TOKENS.format(study=study),
            decoders=decoders,
        log:
            f"logs/{study}/export_weights.log",
        benchmark:
            f"results/benchmarks/{study}/export_weights.tsv"
        threads: ALL
        resources:
            mem_mb=2000,
        params:
            study=study,
            model=STUDIES[study]["model"],
            saes=STUDIES[study]["saes"],
            sae_ids=STUDIES[study]["sae_ids"],
            token_counts=STUDIES[study]["token_counts"],
            min_count=config["tokens"]["min_count"],
        script:
            "../scripts/export_weights.py"
