# What could be studied: every release that the pinned SAELens lists, from its directory alone. Needs no network, and is no
# part of `all`.
import importlib.metadata

RELEASES = multiext("results/releases", ".parquet", ".tsv")


rule list_releases:
    input:
        code=library("list_releases.py"),
    output:
        parquet=RELEASES[0],
        tsv=RELEASES[1],
    log:
        "logs/list_releases.log",
    benchmark:
        "results/benchmarks/list_releases.tsv"
    threads: 1
    resources:
        mem_mb=1000,
    params:
        # The directory is a file of the package.
        version=importlib.metadata.version("sae-lens"),
        studies={
            name: study["saes"]["release"]
            for name, study in config["studies"].items()
            if study["saes"].get("release")
        },
    script:
        "../scripts/list_releases.py"


# It has no output, so that it prints the table however long it stands.
rule studies:
    input:
        releases=RELEASES[0],
        code=library("print_releases.py"),
    log:
        "logs/studies.log",
    threads: 1
    script:
        "../scripts/print_releases.py"
