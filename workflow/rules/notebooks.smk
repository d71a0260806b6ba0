# Notebooks, executed to pages and .ipynb. What they say is about the embedded study, whose tables they read: where it
# is not built, or not as they read it, there are none.
NOTEBOOK_STUDY, NOTEBOOK_VIEW, NOTEBOOK_SCHEME = "mini", "trained", "calibrated"
# Of which one notebook reads the later blocks' work too.
NOTEBOOK_CARRIED = "transported"
NOTEBOOK_PAGE = "results/notebooks/{notebook}.html"


def of_layers(*names):
    return [f"{STAGES}/{name}.parquet" for name in names]


def carried(*patterns):
    """Tables of the view through the later blocks."""
    return [pattern.replace("{view}", NOTEBOOK_CARRIED) for pattern in patterns]


# What each notebook reads, in its view, of the study and of each SAE.
NOTEBOOK_READS = {
    # A feature's page shows all that the study has of it; which is where, must not hang on what is built first.
    "visualizing_sae_features": [
        UNEMBEDDING,
        DECODER,
        NULL,
        *of_layers("null", "types", "moments", "extremes", "histograms", "null_shapes"),
        *of_layers("enrichment", "best_sets", "scores"),
    ],
    "moments_and_types": [
        "results/{study}/summary/{view}.tsv",
        NULL,
        *of_layers("moments", "null", "types", "type_counts", "type_null_counts", "thresholds"),
    ],
    "what_types_promote": [
        "results/{study}/summary/{view}.tsv",
        "results/{study}/token_set_list.tsv",
        DISCOVERIES,
        CLAIMS,
        *of_layers("types", "type_counts", "best_sets", "odds_ratios"),
        *of_layers("moments", "extremes", "histograms"),
    ],
    "direct_vs_measured_effects": [
        "results/{study}/summary/{view}.tsv",
        EFFECT_SUMMARY[0],
        EFFECT_SUMMARY[2],
        EFFECT_SUMMARY[3],
        EFFECT_TABLE,
        AGREEMENT_TABLE,
    ],
    "transported_weights_and_steering": [
        "results/{study}/summary/{view}.tsv",
        NULL_QUANTILES,
        *of_layers("moments", "extremes", "type_counts"),
        *carried(*of_layers("moments", "extremes", "type_counts", "null_quantiles")),
        AGREEMENT_TABLE,
        PEAK_TABLE,
        PATHS_TABLE,
        *STEERING_SUMMARIES,
    ],
    "bring_your_own_sae": [],
}


def why_no_notebooks():
    """What the notebooks lack; None where they can be run."""
    study = STUDIES.get(NOTEBOOK_STUDY)
    if study is None:
        return f"study {NOTEBOOK_STUDY} is not among those that are built"
    if study not in STEERED:
        return f"no effects and no steering are measured in study {NOTEBOOK_STUDY}"
    if NOTEBOOK_CARRIED not in carried_views(study):
        return f"study {NOTEBOOK_STUDY} has no view {NOTEBOOK_CARRIED} with transport"
    if NOTEBOOK_VIEW not in enriched_views(study) or config["effects"]["view"] != NOTEBOOK_VIEW:
        return f"views, enrichment.views and effects.view do not all have {NOTEBOOK_VIEW}"
    if paper_view(study) != NOTEBOOK_VIEW:  # whose null's shape is counted
        return f"the first of figure_views is not {NOTEBOOK_VIEW}"
    if config["types"]["default_scheme"] != NOTEBOOK_SCHEME:
        return f"types.default_scheme is not {NOTEBOOK_SCHEME}"
    return None if LAYER_KINDS else "nulls.kinds has no null of a layer's own"


wildcard_constraints:
    notebook=any_of(NOTEBOOK_READS),


NOTEBOOKS = []
if (reason := why_no_notebooks()) is None:
    NOTEBOOKS = [NOTEBOOK_PAGE.format(notebook=name) for name in NOTEBOOK_READS]
else:
    skip(f"the notebooks are skipped: {reason}")


def notebook_tables(wildcards):
    """The tables that a notebook reads, of each SAE where they name one."""
    study = STUDIES[NOTEBOOK_STUDY]
    return [
        path
        for pattern in NOTEBOOK_READS[wildcards.notebook]
        for path in dict.fromkeys(
            pattern.format(study=study.name, model=MODEL_OF[study.name], view=NOTEBOOK_VIEW, sae=sae)
            for sae in study.sae_ids
        )
    ]


def notebook_code(wildcards):
    """The library as the notebook imports it."""
    return code_of(ROOT / f"notebooks/{wildcards.notebook}.py")[1:]


def notebook_study(wildcards):
    """The study's own files, for notebooks that load its model or an SAE."""
    study = STUDIES[NOTEBOOK_STUDY]
    return [*own_files(study), text_of(study)]


rule run_notebook:
    input:
        notebook="notebooks/{notebook}.py",
        tables=notebook_tables,
        study=notebook_study,
        code=library("run_notebook.py"),
        imported=notebook_code,
    output:
        html=NOTEBOOK_PAGE,
        ipynb="results/notebooks/{notebook}.ipynb",
    log:
        "logs/run_notebook/{notebook}.log",
    benchmark:
        "results/benchmarks/run_notebook/{notebook}.tsv"
    threads: ONE
    resources:
        mem_mb=2000,
    params:
        # Settings of the config that notebooks read from its file.
        schemes=config["types"]["schemes"],
        nulls=config["nulls"],
    script:
        "../scripts/run_notebook.py"


rule notebooks:
    input:
        NOTEBOOKS,
