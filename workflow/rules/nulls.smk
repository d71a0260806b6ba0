# The moments of random directions, one table a view, shared by the study's layers; single threads side by side.
NULL = "results/{study}/nulls/{view}.parquet"
NULLS = sorted(set(targets(NULL)))


rule null_moments:
    input:
        unembedding=UNEMBEDDING,
        code=library("null_moments.py"),
    output:
        null=NULL,
    log:
        "logs/{study}/nulls/{view}.log",
    benchmark:
        "results/benchmarks/{study}/nulls/{view}.tsv"
    threads: ONE
    resources:
        mem_mb=2000,
    params:
        view=view_options,
        draws=config["nulls"]["draws"],
        seed=config["nulls"]["seed"],
    script:
        "../scripts/null_moments.py"
