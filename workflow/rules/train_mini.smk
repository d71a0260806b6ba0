# Trains the embedded study from Debian packages: `snakemake --cores 2 train_mini`, about two hours on two cores or
# minutes on a GPU; `make mini` copies the result into data/mini. No rule has data/mini as an output, and nothing that
# `all` asks for depends on a file made here, so an edit to this code never puts training into anybody's plan.
TRAIN = config["train_mini"]
TRAINED = "results/train_mini"
N_LAYERS = 6
HOOKS = [f"blocks.{n}.hook_resid_pre" for n in range(N_LAYERS)] + [f"blocks.{N_LAYERS - 1}.hook_resid_post"]
# Folder in results/train_mini/mini of each SAE -> its settings, its hook among them.
SAE_TRAININGS = {
    f"saes/{hook}": {"hook": hook} | TRAIN["saes"]["training"] | TRAIN["saes"]["hooks"].get(hook, {})
    for hook in HOOKS
}
SAE_TRAININGS |= {
    f"further_saes/{name}": SAE_TRAININGS[f"saes/{other['hook']}"] | other
    for name, other in TRAIN["saes"]["further"].items()
}


rule train_mini:
    input:
        f"{TRAINED}/mini/record.json",
        expand(f"{TRAINED}/mini/{{sae}}/cfg.json", sae=SAE_TRAININGS),


rule build_mini_corpus:
    input:
        sources="config/mini_sources.tsv",
        code=library("build_mini_corpus.py"),
    output:
        corpus=f"{TRAINED}/corpus.parquet",
        provenance=f"{TRAINED}/mini/provenance.tsv",
    log:
        "logs/train_mini/build_mini_corpus.log",
    threads: ALL
    params:
        # Kept between runs: packages that were fetched are not fetched again.
        packages=f"{TRAINED}/packages",
    script:
        "../scripts/build_mini_corpus.py"


rule tokenise_mini_corpus:
    input:
        corpus=f"{TRAINED}/corpus.parquet",
        provenance=f"{TRAINED}/mini/provenance.tsv",
        code=library("tokenise_mini_corpus.py"),
    output:
        tokenizer=multiext(
            f"{TRAINED}/mini/model/", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"
        ),
        train=f"{TRAINED}/train.bin",
        held_out=f"{TRAINED}/held_out.bin",
        counts=f"{TRAINED}/mini/token_counts.safetensors",
        odd=f"{TRAINED}/mini/odd_tokens.tsv",
        evaluation_text=f"{TRAINED}/mini/evaluation_text.txt",
    log:
        "logs/train_mini/tokenise_mini_corpus.log",
    threads: ALL
    params:
        settings=TRAIN["tokens"],
    script:
        "../scripts/tokenise_mini_corpus.py"


rule fit_mini_trigram:
    input:
        train=f"{TRAINED}/train.bin",
        held_out=f"{TRAINED}/held_out.bin",
        code=library("fit_mini_trigram.py"),
    output:
        f"{TRAINED}/trigram.json",
    log:
        "logs/train_mini/fit_mini_trigram.log",
    params:
        d_vocab=TRAIN["tokens"]["d_vocab"],
    script:
        "../scripts/fit_mini_trigram.py"


# Resumable: the checkpoint is not an output, so Snakemake leaves it where it is when the job is stopped.
rule train_mini_model:
    input:
        train=f"{TRAINED}/train.bin",
        code=library("train_mini_model.py"),
    output:
        config=f"{TRAINED}/mini/model/config.json",
        weights=f"{TRAINED}/mini/model/model.safetensors",
        curve=f"{TRAINED}/mini/model_curve.tsv",
    log:
        "logs/train_mini/train_mini_model.log",
    threads: ALL
    params:
        d_vocab=TRAIN["tokens"]["d_vocab"],
        settings=TRAIN["model"],
        checkpoints=f"{TRAINED}/checkpoints",
    script:
        "../scripts/train_mini_model.py"


rule collect_mini_residuals:
    input:
        train=f"{TRAINED}/train.bin",
        weights=f"{TRAINED}/mini/model/model.safetensors",
        code=library("collect_mini_residuals.py"),
    output:
        temp(expand(f"{TRAINED}/residuals/{{hook}}.safetensors", hook=HOOKS)),
    log:
        "logs/train_mini/collect_mini_residuals.log",
    threads: ALL
    params:
        windows=TRAIN["saes"]["windows"],
        hooks=HOOKS,
    script:
        "../scripts/collect_mini_residuals.py"


rule train_mini_sae:
    input:
        residuals=lambda wildcards: f"{TRAINED}/residuals/{SAE_TRAININGS[wildcards.sae]['hook']}.safetensors",
        code=library("train_mini_sae.py"),
    output:
        multiext(f"{TRAINED}/mini/{{sae}}/", "cfg.json", "sae_weights.safetensors", "sparsity.safetensors"),
        curve=f"{TRAINED}/mini/{{sae}}/curve.tsv",
    log:
        "logs/train_mini/train_mini_sae/{sae}.log",
    wildcard_constraints:
        sae=any_of(SAE_TRAININGS),
    params:
        settings=lambda wildcards: SAE_TRAININGS[wildcards.sae],
    script:
        "../scripts/train_mini_sae.py"


rule record_mini:
    input:
        held_out=f"{TRAINED}/held_out.bin",
        trigram=f"{TRAINED}/trigram.json",
        weights=f"{TRAINED}/mini/model/model.safetensors",
        saes=expand(f"{TRAINED}/mini/{{sae}}/sae_weights.safetensors", sae=SAE_TRAININGS),
        evaluation_text=f"{TRAINED}/mini/evaluation_text.txt",
        code=library("record_mini.py"),
    output:
        record=f"{TRAINED}/mini/record.json",
    log:
        "logs/train_mini/record_mini.log",
    threads: ALL
    params:
        hooks={sae: settings["hook"] for sae, settings in SAE_TRAININGS.items()},
        windows=TRAIN["evaluation_windows"],
    script:
        "../scripts/record_mini.py"
