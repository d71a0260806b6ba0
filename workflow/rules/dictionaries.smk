# Dictionaries of one model side by side, SAE features and neurons say: which types each has, beside chance.
DICTIONARIES = f"{OF_MODEL}/dictionaries.tsv"
DICTIONARY_FIGURES = expand("figures/models/{{model}}/dictionaries.{format}", format=FORMATS)
DICTIONARY_TABLE = "paper/generated/models/{model}/dictionaries.tex"
# Those of one place of the model, trained anew: which features, and which types, are found again.
COUNTERPARTS = f"{OF_MODEL}/counterparts.tsv"
COUNTERPART_TABLE = "paper/generated/models/{model}/counterparts.tex"


def compared(model):
    """The studies of a model that are built; none where it is but one."""
    found = [study for study in at_hand() if MODEL_OF[study.name] == model]
    return found if len(found) > 1 else []


def comparison_of(study):
    """The model, where this is the first of its studies that are compared: it stands for all; else None."""
    model = MODEL_OF[study.name]
    first = [one for one in of_paper() if one in compared(model)][:1]
    return model if study in first else None


def compared_files(pattern):
    """Input: this file of every layer of the studies compared, in the view that the paper shows of the first."""

    def found(wildcards):
        studies = compared(wildcards.model)
        path = pattern.replace("{view}", paper_view(studies[0]))
        return [one for study in studies for one in of_saes(path.replace("{study}", study.name), study)]

    return found


def compared_titles(wildcards):
    """Study -> title, for params."""
    return {study.name: study.title for study in compared(wildcards.model)}


def compared_saes(wildcards):
    """Study -> ids of its SAEs, for params."""
    return {study.name: study.sae_ids for study in compared(wildcards.model)}


def compared_source(wildcards):
    """The view and the scheme, as figures and tables say them."""
    view = paper_view(compared(wildcards.model)[0])
    return f"view {view}, scheme {config['types']['default_scheme']}"


COMPARISONS = [
    path.format(model=model)
    for model in MODELS
    if compared(model)
    for path in [DICTIONARIES, *DICTIONARY_FIGURES, DICTIONARY_TABLE, COUNTERPARTS, COUNTERPART_TABLE]
]


rule compare_dictionaries:
    input:
        type_counts=compared_files(f"{STAGES}/type_counts.parquet"),
        null_counts=compared_files(f"{STAGES}/type_null_counts.parquet"),
        code=library("compare_dictionaries.py"),
    output:
        DICTIONARIES,
    log:
        "logs/models/{model}/compare_dictionaries.log",
    benchmark:
        "results/benchmarks/models/{model}/compare_dictionaries.tsv"
    threads: ONE
    params:
        saes=compared_saes,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/compare_dictionaries.py"


rule draw_dictionaries:
    input:
        dictionaries=DICTIONARIES,
        code=library("draw_dictionaries.py"),
    output:
        model_figures_in_report(DICTIONARY_FIGURES),
    log:
        "logs/models/{model}/draw_dictionaries.log",
    benchmark:
        "results/benchmarks/models/{model}/draw_dictionaries.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        titles=compared_titles,
        title=lambda wildcards: f"{wildcards.model} · {compared_source(wildcards)}",
    script:
        "../scripts/draw_dictionaries.py"


rule write_latex_dictionaries:
    input:
        dictionaries=DICTIONARIES,
        code=library("write_latex_dictionaries.py"),
    output:
        DICTIONARY_TABLE,
    log:
        "logs/models/{model}/write_latex_dictionaries.log",
    benchmark:
        "results/benchmarks/models/{model}/write_latex_dictionaries.tsv"
    threads: ONE
    params:
        titles=compared_titles,
        source=lambda wildcards: f"model {wildcards.model}, {compared_source(wildcards)}",
    script:
        "../scripts/write_latex_dictionaries.py"


rule find_counterparts:
    input:
        decoders=compared_files(DECODER),
        types=compared_files(f"{STAGES}/types.parquet"),
        code=library("find_counterparts.py"),
    output:
        COUNTERPARTS,
    log:
        "logs/models/{model}/find_counterparts.log",
    benchmark:
        "results/benchmarks/models/{model}/find_counterparts.tsv"
    threads: ONE
    params:
        saes=compared_saes,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/find_counterparts.py"


rule write_latex_counterparts:
    input:
        counterparts=COUNTERPARTS,
        code=library("write_latex_counterparts.py"),
    output:
        COUNTERPART_TABLE,
    log:
        "logs/models/{model}/write_latex_counterparts.log",
    benchmark:
        "results/benchmarks/models/{model}/write_latex_counterparts.tsv"
    threads: ONE
    params:
        titles=compared_titles,
        source=lambda wildcards: f"model {wildcards.model}, {compared_source(wildcards)}",
    script:
        "../scripts/write_latex_counterparts.py"
