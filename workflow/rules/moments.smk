# Moments, extreme tokens and histogram of every feature's logit weights, a job a layer and view: single threads side
# by side use the cores better than one job after the other.
MOMENTS = targets(f"{STAGES}/moments.parquet", f"{STAGES}/extremes.parquet", f"{STAGES}/histograms.parquet")


rule moments:
    input:
        decoder=DECODER,
        unembedding=UNEMBEDDING,
        null=NULL,
        code=library("moments.py"),
    output:
        moments=f"{STAGES}/moments.parquet",
        extremes=f"{STAGES}/extremes.parquet",
        histograms=f"{STAGES}/histograms.parquet",
    log:
        "logs/{study}/{sae}/{view}/moments.log",
    benchmark:
        "results/benchmarks/{study}/{sae}/{view}/moments.tsv"
    threads: ONE
    resources:
        mem_mb=2000,
    params:
        view=view_options,
        settings=config["moments"],
    script:
        "../scripts/moments.py"
