# Tables -> figures, as PDF and PNG: one job for all of a layer's, one for those of all layers.
LAYER_FIGURES = expand(
    "figures/{{study}}/{{view}}/{{sae}}/{figure}.{format}",
    figure=["skewness", "kurtosis", "skewness_vs_kurtosis", "types", "exemplars"],
    format=["pdf", "png"],
)
STUDY_FIGURES = expand(
    "figures/{{study}}/{{view}}/{figure}.{format}",
    figure=["layers_grid", "moments_by_layer", "type_shares"],
    format=["pdf", "png"],
)
FIGURES = sorted(set(targets(*LAYER_FIGURES, *STUDY_FIGURES, views="figure_views")))


rule layer_figures:
    input:
        moments=f"{STAGES}/moments.parquet",
        extremes=f"{STAGES}/extremes.parquet",
        histograms=f"{STAGES}/histograms.parquet",
        types=f"{STAGES}/types.parquet",
        type_counts=f"{STAGES}/type_counts.parquet",
        null=NULL,
        code=library("layer_figures.py"),
    output:
        LAYER_FIGURES,
    log:
        "logs/{study}/{sae}/{view}/layer_figures.log",
    benchmark:
        "results/benchmarks/{study}/{sae}/{view}/layer_figures.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        title=lambda wildcards: STUDIES[wildcards.study].title,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/layer_figures.py"


rule study_figures:
    input:
        moments=every_layer(f"{STAGES}/moments.parquet"),
        types=every_layer(f"{STAGES}/types.parquet"),
        type_counts=every_layer(f"{STAGES}/type_counts.parquet"),
        null=NULL,
        code=library("study_figures.py"),
    output:
        STUDY_FIGURES,
    log:
        "logs/{study}/study_figures/{view}.log",
    benchmark:
        "results/benchmarks/{study}/study_figures/{view}.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        title=lambda wildcards: STUDIES[wildcards.study].title,
        sae_ids=lambda wildcards: STUDIES[wildcards.study].sae_ids,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/study_figures.py"
