# The article: the numbers of its prose -> paper/generated, and with the LaTeX tables and the figures of the studies
# that are built -> paper/main.pdf. Part of `all` where LaTeX is found; `snakemake --cores 8 paper` insists.
from fsrl.latex import document as tex_document

PAPER = "paper/main.pdf"
PAPER_SOURCES = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "paper").glob("*") if path.suffix in (".tex", ".bib")
)
STUDY_NUMBERS = "paper/generated/{study}/numbers.tex"
PAPER_INDEX = ["paper/generated/numbers.tex", "paper/generated/studies_built.tex"]
# What the prose takes from the config: definitions, not results.
PAPER_CONFIG = {
    section: config[section]
    for section in (
        "tokens",
        "nulls",
        "enrichment",
        "claims",
        "sensitivity",
        "ablations",
        "planted",
        "effects",
        "steering",
    )
}
MINI_MODEL = "data/mini/model"
RECORD, MOMENTS_TIMED = "data/mini/record.json", "benchmarks/results/moments_cpu.json"


def at_hand():
    """The studies that are built."""
    # A job's own snakemake reads all studies of the config (see `built`) and has to come to the same list again.
    return [study for study in STUDIES.values() if "study" in config or not study.lacks_weights()]


def of_paper():
    """The studies that have a part of the paper to themselves: all of those that are built, if none has."""
    return [study for study in at_hand() if not left_out(study, "paper")] or at_hand()


def paper_parts(study):
    """Which parts of the evidence the study has in that view."""
    view = paper_view(study)
    parts = {
        "other-view": len(study.figure_views) > 1,
        "evidence": view in enriched_views(study),
        "effects": view == EFFECT_VIEW and study in MEASURED,
        "steering": view == EFFECT_VIEW and study in STEERED,
        "transport": view == EFFECT_VIEW and study in MEASURED and bool(own_views(study)),
        "planted": study.name in config["planted"]["studies"],
        "ablations": study.name in ABLATED,
        "dictionaries": comparison_of(study) is not None,
        "transcoders": study.transcoders() == list(study.sae_ids),
    }
    return [part for part, there in parts.items() if there]


def paper_tables(study):
    """The tables behind the study's numbers: name of `fsrl.numbers.headlines.StudyTables` -> path or paths."""
    parts, view = paper_parts(study), paper_view(study)
    tables = {
        "moments": of_saes(f"{STAGES}/moments.parquet", study),
        "thresholds": of_saes(f"{STAGES}/thresholds.parquet", study),
        "null_counts": of_saes(f"{STAGES}/type_null_counts.parquet", study),
        "tokens": TOKENS,
        "summary": f"results/{{study}}/summary/{view}.tsv",
        "null": NULL.replace("{view}", view),
    }
    if "other-view" in parts:
        other = study.figure_views[1]
        tables |= {"other_summary": f"results/{{study}}/summary/{other}.tsv"}
        tables |= {"other_null": NULL.replace("{view}", other)}
    if "evidence" in parts:
        tables |= {"discoveries": DISCOVERIES, "set_coverage": SET_COVERAGE}
        tables |= {"claim_tests": CLAIMS, "sensitivity": SENSITIVITY}
        tables |= {"claims": CLAIMS_SUMMARY}
        tables |= {"null_p_values": NULL_P_VALUES, "null_level": NULL_LEVEL}
        for name in ("agreement", "stability"):
            tables[name] = SENSITIVITY.replace(".parquet", f"_{name}.parquet")
    if "effects" in parts:
        tables |= {"effects": EFFECT_SUMMARY[0], "by_hook": EFFECT_SUMMARY[3]}
    if "steering" in parts:
        tables |= {"forecasts": STEERING_SUMMARIES[0], "next_token": STEERING_SUMMARIES[1]}
    if "planted" in parts:
        tables["recovery"] = PLANTED[0]
    if "ablations" in parts:
        tables["ablations"] = ABLATIONS
    if "dictionaries" in parts:
        tables["dictionaries"] = DICTIONARIES
    fill = {"{study}": study.name, "{model}": MODEL_OF[study.name], "{view}": view}
    return {name: _filled(path, fill) for name, path in tables.items()}


def _filled(path, fill):
    if not isinstance(path, str):
        return [_filled(one, fill) for one in path]
    for wildcard, value in fill.items():
        path = path.replace(wildcard, value)
    return path


def beside(study):
    """The studies that are compared with this one, where it stands for its model: study -> title."""
    model = comparison_of(study)
    return {one.name: one.title for one in compared(model)} if model else {}


def paper_places(study):
    """What the names of the study's figures are made of."""
    saes = study.sae_ids
    places = {"view": paper_view(study), "last": saes[-1], "model": MODEL_OF[study.name]}
    return places | ({"other-view": study.figure_views[1]} if len(study.figure_views) > 1 else {})


def paper_figures(study):
    """The figures of a study that the paper shows."""
    parts, places = paper_parts(study), paper_places(study)
    view, last = places["view"], places["last"]
    names = [
        f"{view}/headline",
        f"{view}/layers_grid",
        f"{view}/nulls_by_layer",
        f"{view}/{last}/evidence",
        f"{view}/{last}/exemplars",
    ]
    names += [f"{view}/{name}" for name in ("null_p_values", "sensitivity")] if "evidence" in parts else []
    names += (
        ["effects/agreement", "effects/agreement_by_type", "effects/retention"] if "effects" in parts else []
    )
    transported = ["transported_moments", "transported_tokens"] if "transport" in parts else []
    names += [f"effects/{name}" for name in transported]
    names += ["planted/recovery"] if "planted" in parts else []
    folders = [VIEW_FIGURES.format(study=study.name)] if "other-view" in parts else []
    found = folders + [f"figures/{study.name}/{name}.pdf" for name in names]
    compared = DICTIONARY_FIGURES[0].format(model=places["model"])
    return found + ([compared] if "dictionaries" in parts else [])


def paper_latex_tables():
    models = filter(None, map(comparison_of, of_paper()))
    compared = [
        path.format(model=model) for model in models for path in (DICTIONARY_TABLE, COUNTERPART_TABLE)
    ]
    return [SPEED_TABLE, COMPUTE_TABLE, *compared] + [
        path for study in of_paper() for path in latex_tables(study)
    ]


def paper_studies(wildcards):
    """What studies_built.tex says, for params."""
    return [
        {"name": study.name, "parts": paper_parts(study), "places": paper_places(study)}
        for study in of_paper()
    ]


def paper_leading(wildcards):
    """The study that the text tells: the first of a model that was not made for this repository, else the first."""
    found = of_paper()
    own = {name for name, study in config["studies"].items() if study["model"].get("folder") == MINI_MODEL}
    return next((study.name for study in found if study.name not in own), found[0].name)


def paper_skipped(wildcards):
    return [study.title for study in ASKED.values() if study.name not in [built.name for built in at_hand()]]


rule write_paper_numbers:
    input:
        unpack(lambda wildcards: paper_tables(STUDIES[wildcards.study])),
        code=library("write_paper_numbers.py"),
    output:
        STUDY_NUMBERS,
    log:
        "logs/{study}/write_paper_numbers.log",
    benchmark:
        "results/benchmarks/{study}/write_paper_numbers.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        sae_ids=sae_ids,
        study=lambda wildcards: {
            "study": wildcards.study,
            "title": title(wildcards),
            "view": paper_view(STUDIES[wildcards.study]),
            "other_view": paper_places(STUDIES[wildcards.study]).get("other-view"),
            "scheme": config["types"]["default_scheme"],
            "titles": beside(STUDIES[wildcards.study]),
        },
    script:
        "../scripts/write_paper_numbers.py"


rule write_paper_index:
    input:
        numbers=lambda wildcards: [STUDY_NUMBERS.format(study=study.name) for study in of_paper()],
        speed=MOMENTS_TIMED,
        stages=STAGES_TIMED,
        record=RECORD,
        model=f"{MINI_MODEL}/config.json",
        citation="CITATION.cff",
        code=library("write_paper_index.py"),
    output:
        numbers=PAPER_INDEX[0],
        studies=PAPER_INDEX[1],
    log:
        "logs/write_paper_index.log",
    benchmark:
        "results/benchmarks/write_paper_index.tsv"
    threads: ONE
    params:
        studies=paper_studies,
        skipped=paper_skipped,
        leading=paper_leading,
        training=config["train_mini"]["model"],
        config=PAPER_CONFIG,
        schemes=config["types"]["schemes"],
    script:
        "../scripts/write_paper_index.py"


def insisting(wildcards):
    """The sources, for whoever asks for the PDF; without LaTeX the plan stops with what to do."""
    lacking = tex_document.missing_programs()
    if lacking:
        stop(f"{PAPER}: {', '.join(lacking)} is not on the PATH; {tex_document.HOW_TO_GET}")
    return PAPER_SOURCES


rule compile_paper_pdf:
    input:
        sources=insisting,
        generated=lambda wildcards: PAPER_INDEX + paper_latex_tables(),
        figures=lambda wildcards: [path for study in of_paper() for path in paper_figures(study)],
        code=library("compile_paper_pdf.py"),
    output:
        PAPER,
    log:
        "logs/compile_paper_pdf.log",
    benchmark:
        "results/benchmarks/compile_paper_pdf.tsv"
    threads: ONE
    params:
        main="paper/main.tex",
    script:
        "../scripts/compile_paper_pdf.py"


rule paper:
    input:
        PAPER,


ARXIV = "paper/arxiv.tar.gz"


# The paper as arXiv takes it: sources, generated tables, figures and the bibliography; no part of `all`.
rule bundle_paper_source:
    input:
        sources=insisting,
        generated=lambda wildcards: PAPER_INDEX + paper_latex_tables(),
        figures=lambda wildcards: [path for study in of_paper() for path in paper_figures(study)],
        code=library("bundle_paper_source.py"),
    output:
        ARXIV,
    log:
        "logs/bundle_paper_source.log",
    benchmark:
        "results/benchmarks/bundle_paper_source.tsv"
    threads: ONE
    params:
        main="paper/main.tex",
    script:
        "../scripts/bundle_paper_source.py"


rule arxiv:
    input:
        ARXIV,


# The numbers need no LaTeX: they are built, and so tested, on every machine.
PAPER_TARGETS = list(PAPER_INDEX)
if not tex_document.missing_programs():
    PAPER_TARGETS.append(PAPER)
else:
    skip(f"{PAPER} is skipped: no LaTeX on the PATH; {tex_document.HOW_TO_GET}")
