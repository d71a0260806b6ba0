# Tables -> figures, as PDF and PNG: one job for all of a layer's, one for those of all layers.
LAYER_FIGURES = expand(
    "figures/{{study}}/{{view}}/{{sae}}/{figure}.{format}",
    figure=["skewness", "kurtosis", "skewness_vs_kurtosis", "types", "exemplars"],
    format=["pdf", "png"],
)
STUDY_FIGURES = expand(
    "figures/{{study}}/{{view}}/{figure}.{format}",
    figure=["layers_grid", "moments_by_layer", "nulls_by_layer", "type_shares"],
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
        nulls=[NULL, LAYER_NULL] if LAYER_KINDS else [NULL],
        code=library("layer_figures.py"),
    output:
        in_report(LAYER_FIGURES),
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
        layer_nulls=every_layer(LAYER_NULL) if LAYER_KINDS else [],
        code=library("study_figures.py"),
    output:
        in_report(STUDY_FIGURES),
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


# The names of a study's SAEs are part of these outputs, hence a rule for each study: one job then draws all layers, and
# imports once what it needs.
VIEW_FIGURE = "figures/{study}/views/{sae}/two_views.{format}"
SPLITS = "figures/{study}/{view}/{sae}/splits.{format}"
EVIDENCE_FIGURES = expand(
    "figures/{{study}}/{{view}}/{figure}.{format}",
    figure=["enrichment_heatmap", "manhattan", "null_p_values", "sensitivity"],
    format=["pdf", "png"],
)
PLANTED_FIGURES = expand(
    "figures/{{study}}/planted/{figure}.{format}",
    figure=["recovery", "recovery_by_set"],
    format=["pdf", "png"],
)


def of_study(study, pattern, **wildcards):
    """The pattern for each of the study's SAEs, in the config's order, and both formats; {view} is left open."""
    options = {"study": study.name, "sae": study.sae_ids, "format": ["pdf", "png"]} | wildcards
    return list(dict.fromkeys(expand(pattern, **options, allow_missing=True)))


for study in STUDIES.values():
    # The same features in the first view that is drawn (along y) against the second.
    if len(study.figure_views) > 1:
        pair = study.figure_views[1::-1]
        FIGURES += of_study(study, VIEW_FIGURE)

        rule:
            name:
                f"view_figures_{study.name}"
            input:
                moments=of_study(study, f"{STAGES}/moments.parquet", view=pair),
                nulls=of_study(study, NULL, view=pair),
                layer_nulls=of_study(study, LAYER_NULL, view=pair) if LAYER_KINDS else [],
                types=of_study(study, f"{STAGES}/types.parquet", view=pair[1]),
                code=library("view_figures.py"),
            output:
                in_report(of_study(study, VIEW_FIGURE)),
            log:
                f"logs/{study.name}/view_figures.log",
            benchmark:
                f"results/benchmarks/{study.name}/view_figures.tsv"
            threads: ONE
            resources:
                mem_mb=1000,
            params:
                title=study.title,
                sae_ids=study.sae_ids,
                views=pair,
                scheme=config["types"]["default_scheme"],
            script:
                "../scripts/view_figures.py"

    if enriched_views(study):
        FIGURES += [
            path.format(view=view) for path in of_study(study, SPLITS) for view in enriched_views(study)
        ]
        FIGURES += [
            path.format(study=study.name, view=view)
            for path in EVIDENCE_FIGURES
            for view in enriched_views(study)
        ]

        rule:
            name:
                f"evidence_figures_{study.name}"
            input:
                types=of_study(study, f"{STAGES}/types.parquet"),
                type_counts=of_study(study, f"{STAGES}/type_counts.parquet"),
                best_sets=of_study(study, BEST_SETS),
                odds_ratios=of_study(study, f"{STAGES}/odds_ratios.parquet"),
                decoders=of_study(study, DECODER),
                unembedding=UNEMBEDDING.format(study=study.name),
                sets=TOKEN_SETS.format(study=study.name),
                set_list=f"results/{study.name}/token_set_list.tsv",
                discoveries=of_study(study, DISCOVERIES)[0],
                sensitivity=of_study(study, SENSITIVITY)[0],
                code=library("evidence_figures.py"),
            output:
                in_report(of_study(study, SPLITS)),
                in_report(path.replace("{study}", study.name) for path in EVIDENCE_FIGURES),
            log:
                f"logs/{study.name}/evidence_figures/{{view}}.log",
            benchmark:
                f"results/benchmarks/{study.name}/evidence_figures/{{view}}.tsv"
            threads: ONE
            resources:
                mem_mb=2000,
            params:
                title=study.title,
                sae_ids=study.sae_ids,
                view=view_options,
                scheme=config["types"]["default_scheme"],
                draws=config["enrichment"]["check_draws"],
                seed=config["nulls"]["seed"],
            script:
                "../scripts/evidence_figures.py"

    if study.name in config["planted"]["studies"]:
        FIGURES += of_study(study, PLANTED_FIGURES)


rule planted_figures:
    input:
        recovery=PLANTED[0],
        by_set=PLANTED[1],
        code=library("planted_figures.py"),
    output:
        in_report(PLANTED_FIGURES),
    log:
        "logs/{study}/planted_figures.log",
    benchmark:
        "results/benchmarks/{study}/planted_figures.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        title=lambda wildcards: STUDIES[wildcards.study].title,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/planted_figures.py"
