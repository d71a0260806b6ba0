# Tables -> figures, as PDF and PNG. A figure's job reads tables and draws: it computes nothing that another could want.
FORMATS = ["pdf", "png"]
LAYER_FIGURES = expand(
    "figures/{{study}}/{{view}}/{{sae}}/{figure}.{format}",
    figure=["skewness", "kurtosis", "skewness_vs_kurtosis", "types", "evidence", "exemplars"],
    format=FORMATS,
)
STUDY_FIGURES = expand(
    "figures/{{study}}/{{view}}/{figure}.{format}",
    figure=["layers_grid", "moments_by_layer", "nulls_by_layer", "type_shares"],
    format=FORMATS,
)
EVIDENCE_FIGURES = expand(
    "figures/{{study}}/{{view}}/{figure}.{format}",
    figure=["enrichment_heatmap", "manhattan", "null_p_values", "set_coverage", "sensitivity"],
    format=FORMATS,
)
EFFECT_FIGURES = expand(
    "figures/{{study}}/effects/{figure}.{format}",
    figure=["agreement", "agreement_by_type", "moments", "retention"],
    format=FORMATS,
)
# Of studies with a transported view: what becomes of moments and top tokens on the way through the later blocks.
TRANSPORT_FIGURES = expand(
    "figures/{{study}}/effects/{figure}.{format}",
    figure=["transported_moments", "transported_tokens"],
    format=FORMATS,
)
PLANTED_FIGURES = expand(
    "figures/{{study}}/planted/{figure}.{format}", figure=["recovery", "recovery_by_set"], format=FORMATS
)
# What the paper opens with; in its view alone.
HEADLINE_FIGURES = expand("figures/{{study}}/{{view}}/headline.{format}", format=FORMATS)
# Folders of one figure a layer, named by the SAE: one job draws all layers, and imports once what it needs.
SPLIT_FIGURES = "figures/{study}/{view}/splits"
VIEW_FIGURES = "figures/{study}/two_views"

FIGURES = sorted(set(targets(*STUDY_FIGURES, views="figure_views")))
FIGURES += [
    path
    for path in targets(*LAYER_FIGURES, views="figure_views")
    if not left_out(STUDIES[Path(path).parts[1]], "figures of single layers")
]
FIGURES += [
    path.format(study=study.name, view=paper_view(study))
    for study in STUDIES.values()
    for path in HEADLINE_FIGURES
]
FIGURES += in_enriched_views(*EVIDENCE_FIGURES, SPLIT_FIGURES)
FIGURES += [path.format(study=study.name) for study in MEASURED for path in EFFECT_FIGURES]
FIGURES += [
    path.format(study=study.name) for study in MEASURED if own_views(study) for path in TRANSPORT_FIGURES
]
FIGURES += [
    path.format(study=name)
    for name in config["planted"]["studies"]
    if name in STUDIES
    for path in PLANTED_FIGURES
]
FIGURES += [
    VIEW_FIGURES.format(study=study.name) for study in STUDIES.values() if len(study.figure_views) > 1
]
FIGURES = [path for path in FIGURES if not left_out(STUDIES[Path(path).parts[1]], "figures")]


def draws_together(study):
    """Does one job draw all of the study's layers? Where the study says so, and all are drawn."""
    return study.one_job and "figures of single layers" not in study.without


def of_drawing(pattern, study):
    """The pattern for each SAE of a job that draws layers."""
    return of_saes(pattern, study) if draws_together(study) else [pattern]


for study in STUDIES.values():

    rule:
        name:
            f"draw_layer_figures_{study.name}"
        input:
            **{
                table: of_drawing(f"{STAGES}/{table}.parquet", study)
                for table in (*MOMENT_TABLES, "types", "type_counts")
            },
            null=at_model(NULL, study),
            layer_nulls=of_drawing(LAYER_NULL, study) if LAYER_KINDS else [],
            code=library("draw_layer_figures.py"),
        output:
            in_report([path for own in LAYER_FIGURES for path in of_drawing(own, study)]),
        log:
            f"logs/{folder_of_job(draws_together(study))}/{{view}}/draw_layer_figures.log",
        benchmark:
            f"results/benchmarks/{folder_of_job(draws_together(study))}/{{view}}/draw_layer_figures.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: ONE
        resources:
            mem_mb=1000,
        params:
            title=title,
            sae_ids=study.sae_ids if draws_together(study) else lambda wildcards: [wildcards.sae],
            scheme=config["types"]["default_scheme"],
        script:
            "../scripts/draw_layer_figures.py"


rule draw_study_figures:
    input:
        moments=every_layer(f"{STAGES}/moments.parquet"),
        types=every_layer(f"{STAGES}/types.parquet"),
        type_counts=every_layer(f"{STAGES}/type_counts.parquet"),
        null=of_model(NULL),
        layer_nulls=every_layer(LAYER_NULL) if LAYER_KINDS else [],
        code=library("draw_study_figures.py"),
    output:
        in_report(STUDY_FIGURES),
    log:
        "logs/{study}/draw_study_figures/{view}.log",
    benchmark:
        "results/benchmarks/{study}/draw_study_figures/{view}.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        title=title,
        sae_ids=sae_ids,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/draw_study_figures.py"


def tests_of_nothing(wildcards):
    """The tests on shuffled sets, where the study has sets in this view."""
    there = wildcards.view in enriched_views(STUDIES[wildcards.study])
    return [NULL_P_VALUES] if there else []


def agreement_by_hook(wildcards):
    """How the logits move, where that was measured in this view."""
    there = wildcards.view == EFFECT_VIEW and STUDIES[wildcards.study] in MEASURED
    return [EFFECT_SUMMARY[3]] if there else []


rule draw_headline:
    input:
        moments=every_layer(f"{STAGES}/moments.parquet"),
        types=every_layer(f"{STAGES}/types.parquet"),
        type_counts=every_layer(f"{STAGES}/type_counts.parquet"),
        null_counts=every_layer(f"{STAGES}/type_null_counts.parquet"),
        null=of_model(NULL),
        null_p_values=tests_of_nothing,
        by_hook=agreement_by_hook,
        code=library("draw_headline.py"),
    output:
        in_report(HEADLINE_FIGURES),
    log:
        "logs/{study}/draw_headline/{view}.log",
    benchmark:
        "results/benchmarks/{study}/draw_headline/{view}.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        title=title,
        sae_ids=sae_ids,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/draw_headline.py"


def compared_views(wildcards):
    """The first two views that are drawn: the second along x, the first along y."""
    return STUDIES[wildcards.study].figure_views[1::-1]


def in_compared_views(pattern):
    """An input function: the pattern for each of the study's SAEs, if it names one, and both views of each."""

    def paths(wildcards):
        study = STUDIES[wildcards.study]
        found = of_saes(at_model(pattern, study), study)
        return list(dict.fromkeys(expand(found, view=compared_views(wildcards), allow_missing=True)))

    return paths


rule draw_view_figures:
    input:
        moments=in_compared_views(f"{STAGES}/moments.parquet"),
        nulls=in_compared_views(NULL),
        layer_nulls=in_compared_views(LAYER_NULL) if LAYER_KINDS else [],
        types=lambda wildcards: expand(
            f"{STAGES}/types.parquet",
            sae=sae_ids(wildcards),
            view=compared_views(wildcards)[1],
            allow_missing=True,
        ),
        code=library("draw_view_figures.py"),
    output:
        folder_in_report(VIEW_FIGURES),
    log:
        "logs/{study}/draw_view_figures.log",
    benchmark:
        "results/benchmarks/{study}/draw_view_figures.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        title=title,
        sae_ids=sae_ids,
        views=compared_views,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/draw_view_figures.py"


rule draw_evidence_figures:
    input:
        type_counts=every_layer(f"{STAGES}/type_counts.parquet"),
        best_sets=every_layer(BEST_SETS),
        odds_ratios=every_layer(ODDS_RATIOS),
        splits=every_layer(SPLITS),
        set_list=TOKEN_SET_LIST,
        discoveries=DISCOVERIES,
        null_p_values=NULL_P_VALUES,
        set_coverage=SET_COVERAGE,
        sensitivity=SENSITIVITY,
        code=library("draw_evidence_figures.py"),
    output:
        in_report(EVIDENCE_FIGURES),
        splits=folder_in_report(SPLIT_FIGURES),
    log:
        "logs/{study}/draw_evidence_figures/{view}.log",
    benchmark:
        "results/benchmarks/{study}/draw_evidence_figures/{view}.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        title=title,
        sae_ids=sae_ids,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/draw_evidence_figures.py"


rule draw_effect_figures:
    input:
        effects=every_layer(EFFECT_TABLE),
        by_hook=EFFECT_SUMMARY[3],
        summary=EFFECT_SUMMARY[0],
        retention=EFFECT_SUMMARY[2],
        code=library("draw_effect_figures.py"),
    output:
        in_report(EFFECT_FIGURES),
    log:
        "logs/{study}/draw_effect_figures.log",
    benchmark:
        "results/benchmarks/{study}/draw_effect_figures.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        title=lambda wildcards: f"{title(wildcards)} · view {EFFECT_VIEW}",
        sae_ids=sae_ids,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/draw_effect_figures.py"


def in_carried_view(table):
    """An input function: a table of each of the study's SAEs in its first view with T."""

    def paths(wildcards):
        study = STUDIES[wildcards.study]
        return of_saes(f"{STAGES}/{table}.parquet".replace("{view}", own_views(study)[0]), study)

    return paths


rule draw_transport_figures:
    input:
        moments=lambda wildcards: in_effect_view("moments", STUDIES[wildcards.study]),
        extremes=lambda wildcards: in_effect_view("extremes", STUDIES[wildcards.study]),
        quantiles=of_model(NULL_QUANTILES.replace("{view}", EFFECT_VIEW)),
        transported_moments=in_carried_view("moments"),
        transported_extremes=in_carried_view("extremes"),
        transported_quantiles=in_carried_view("null_quantiles"),
        agreement=every_layer(AGREEMENT_TABLE),
        peaks=every_layer(PEAK_TABLE),
        code=library("draw_transport_figures.py"),
    output:
        in_report(TRANSPORT_FIGURES),
    log:
        "logs/{study}/draw_transport_figures.log",
    benchmark:
        "results/benchmarks/{study}/draw_transport_figures.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        title=title,
        sae_ids=sae_ids,
        views=lambda wildcards: [EFFECT_VIEW, own_views(STUDIES[wildcards.study])[0]],
    script:
        "../scripts/draw_transport_figures.py"


rule draw_planted_figures:
    input:
        recovery=PLANTED[0],
        by_set=PLANTED[1],
        code=library("draw_planted_figures.py"),
    output:
        in_report(PLANTED_FIGURES),
    log:
        "logs/{study}/draw_planted_figures.log",
    benchmark:
        "results/benchmarks/{study}/draw_planted_figures.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        title=title,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/draw_planted_figures.py"
