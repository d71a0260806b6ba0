# Notebooks, executed to pages and .ipynb. `all` runs those of the studies that config.yaml names, `snakemake notebooks` those
# of every study that is built; of studies other than the embedded one the notebooks that read nothing but its tables.
NOTEBOOK_STUDY, NOTEBOOK_VIEW, NOTEBOOK_SCHEME = "mini", "trained", "calibrated"
# Of which one notebook reads the later blocks' work too.
NOTEBOOK_CARRIED = "transported"
NOTEBOOK_PAGE = "results/notebooks/{notebook}.html"
STUDY_NOTEBOOK_PAGE = "results/{study}/notebooks/{notebook}.html"


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


# What each must find in a study, besides types in the notebooks' view.
NOTEBOOK_NEEDS = {
    "moments_and_types": [],
    "what_types_promote": ["sets"],
    "direct_vs_measured_effects": ["effects", "transport"],
    "transported_weights_and_steering": ["steering", "transport"],
}
# These load the embedded study's model and an SAE of it.
NOTEBOOK_NEEDS |= {name: ["embedded", "sets"] for name in NOTEBOOK_READS if name not in NOTEBOOK_NEEDS}


def lacking(study, needs):
    """What the study has not of what a notebook needs, in words; None where it has all."""
    known = {
        "sets": (NOTEBOOK_VIEW in enriched_views(study), f"enrichment.views do not have {NOTEBOOK_VIEW}"),
        "effects": (study in MEASURED, "its effects are not measured"),
        "steering": (study in STEERED, "no steering is measured"),
        "transport": (
            NOTEBOOK_CARRIED in carried_views(study),
            f"it has no view {NOTEBOOK_CARRIED} with transport",
        ),
        "embedded": (study.name == NOTEBOOK_STUDY, f"they are of study {NOTEBOOK_STUDY}"),
    }
    if paper_view(study) != NOTEBOOK_VIEW:  # whose null's shape is counted
        return f"the first of figure_views is not {NOTEBOOK_VIEW}"
    if config["types"]["default_scheme"] != NOTEBOOK_SCHEME:
        return f"types.default_scheme is not {NOTEBOOK_SCHEME}"
    if not LAYER_KINDS:
        return "nulls.kinds has no null of a layer's own"
    if {"effects", "steering"} & set(needs) and EFFECT_VIEW != NOTEBOOK_VIEW:
        return f"effects.view is not {NOTEBOOK_VIEW}"
    return next((reason for there, reason in map(known.get, needs) if not there), None)


def notebooks_of(study):
    """The names of the notebooks that can be run of a study."""
    return [name for name, needs in NOTEBOOK_NEEDS.items() if lacking(study, needs) is None]


def notebook_pages(study):
    """Their pages."""
    page = NOTEBOOK_PAGE if study.name == NOTEBOOK_STUDY else STUDY_NOTEBOOK_PAGE
    return [page.format(study=study.name, notebook=name) for name in notebooks_of(study)]


def say_what_is_skipped(study):
    """A line for each reason why notebooks of the study are not run."""
    for name, needs in NOTEBOOK_NEEDS.items():
        if "embedded" in needs and study.name != NOTEBOOK_STUDY:
            continue
        if reason := lacking(study, needs):
            skip(f"notebook {name} of study {study.name} is skipped: {reason}")


wildcard_constraints:
    notebook=any_of(NOTEBOOK_READS),


ALL_NOTEBOOKS = [page for study in STUDIES.values() for page in notebook_pages(study)]
NOTEBOOKS = [
    page
    for name in config["notebooks"]["studies"]
    if name in STUDIES
    for page in notebook_pages(STUDIES[name])
]
for name in config["notebooks"]["studies"]:
    if name in STUDIES:
        say_what_is_skipped(STUDIES[name])
    else:
        skip(f"the notebooks are skipped: study {name} is not among those that are built")


def notebook_of(wildcards):
    """The study that a notebook's job reads."""
    return STUDIES[wildcards.get("study", NOTEBOOK_STUDY)]


def notebook_parameters(wildcards):
    """What its cell of parameters is told, where it is not as the notebook has it."""
    study = notebook_of(wildcards)
    return {} if study.name == NOTEBOOK_STUDY else {"STUDY": study.name, "MODEL": MODEL_OF[study.name]}


def notebook_tables(wildcards):
    """The tables that a notebook reads, of each SAE where they name one."""
    study = notebook_of(wildcards)
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
    study = notebook_of(wildcards)
    return [*own_files(study), text_of(study)] if "embedded" in NOTEBOOK_NEEDS[wildcards.notebook] else []


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
        parameters=notebook_parameters,
        beside=lambda wildcards: notebooks_of(notebook_of(wildcards)),
    script:
        "../scripts/run_notebook.py"


use rule run_notebook as run_study_notebook with:
    output:
        html=STUDY_NOTEBOOK_PAGE,
        ipynb="results/{study}/notebooks/{notebook}.ipynb",
    log:
        "logs/{study}/run_notebook/{notebook}.log",
    benchmark:
        "results/benchmarks/{study}/run_notebook/{notebook}.tsv"


rule notebooks:
    input:
        ALL_NOTEBOOKS,
