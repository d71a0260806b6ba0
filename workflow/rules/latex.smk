# Tables -> LaTeX tables for the paper, in the first view that a study draws. A study has no table of what it was not
# examined for.
LATEX = "paper/generated/{study}/"
# What belongs to no study, from what benchmarks/ saved.
SPEED_TABLE = "paper/generated/speed.tex"
COMPUTE_TABLE = "paper/generated/compute.tex"
STAGES_TIMED = "benchmarks/results/stages_cpu.json"
LATEX_OF = {
    "study": multiext(
        LATEX,
        "studies.tex",
        "moments_by_layer.tex",
        "types_by_layer.tex",
        "type_overlap.tex",
        "tail_calibration.tex",
        "exemplars.tex",
    ),
    "coverage": [f"{LATEX}set_coverage.tex"],
    "claims": multiext(LATEX, "claims.tex", "claims_by_scheme.tex"),
    "sensitivity": multiext(LATEX, "sensitivity.tex", "agreement.tex"),
    "effects": multiext(LATEX, "effects.tex", "effects_by_type.tex", "effects_by_hook.tex"),
    "steering": multiext(LATEX, "steering.tex", "next_token.tex", "paths.tex", "confidence.tex"),
    "planted": [f"{LATEX}planted.tex"],
    "nulls": [f"{LATEX}null_comparison.tex"],
    "ablations": [f"{LATEX}ablations.tex"],
}


def paper_view(study):
    """The view that the paper shows: the first that is drawn."""
    return study.figure_views[0]


def in_paper_view(pattern):
    """An input function: the pattern in the paper's view, for each of the study's SAEs if it names one."""

    def paths(wildcards):
        study = STUDIES[wildcards.study]
        in_view = at_model(pattern.replace("{view}", paper_view(study)), study)
        return list(dict.fromkeys(of_saes(in_view, study)))

    return paths


def latex_tables(study):
    """The study's LaTeX tables."""
    view = paper_view(study)
    there = {
        "study": True,
        "coverage": view in enriched_views(study),
        "claims": view in enriched_views(study),
        "sensitivity": view in enriched_views(study),
        "effects": view == EFFECT_VIEW and study in MEASURED,
        "steering": view == EFFECT_VIEW and study in STEERED,
        "planted": study.name in config["planted"]["studies"],
        "ablations": study.name in ABLATED,
        "nulls": bool(TAIL_SCHEMES) and study.name in config["planted"]["studies"],
    }
    return [
        path.format(study=study.name) for part, paths in LATEX_OF.items() if there[part] for path in paths
    ]


def explained(wildcards):
    """The study's explanations, where `all` has them."""
    study = STUDIES[wildcards.study]
    at_hand = explanations_at_hand(study)[0]
    return [path for path in expand(EXPLAINED, study=study.name, sae=study.sae_ids) if path in at_hand]


def latex_source(wildcards):
    """What the first line of a generated file says of where its numbers come from."""
    view, scheme = paper_view(STUDIES[wildcards.study]), config["types"]["default_scheme"]
    return f"study {wildcards.study}, view {view}, scheme {scheme}"


LATEX_TABLES = [
    path for study in STUDIES.values() if not left_out(study, "paper") for path in latex_tables(study)
]
LATEX_TABLES += [SPEED_TABLE, COMPUTE_TABLE]


rule write_latex_study:
    input:
        moments=in_paper_view(f"{STAGES}/moments.parquet"),
        types=in_paper_view(f"{STAGES}/types.parquet"),
        type_counts=in_paper_view(f"{STAGES}/type_counts.parquet"),
        null_counts=in_paper_view(f"{STAGES}/type_null_counts.parquet"),
        tail_calibration=in_paper_view(f"{STAGES}/tail_calibration.parquet"),
        extremes=in_paper_view(f"{STAGES}/extremes.parquet"),
        null=in_paper_view(NULL),
        explanations=explained,
        code=library("write_latex_study.py"),
    output:
        LATEX_OF["study"],
    log:
        "logs/{study}/write_latex_study.log",
    benchmark:
        "results/benchmarks/{study}/write_latex_study.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        source=latex_source,
        title=title,
        sae_ids=sae_ids,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/write_latex_study.py"


rule write_latex_coverage:
    input:
        set_coverage=in_paper_view(SET_COVERAGE),
        code=library("write_latex_coverage.py"),
    output:
        LATEX_OF["coverage"],
    log:
        "logs/{study}/write_latex_coverage.log",
    benchmark:
        "results/benchmarks/{study}/write_latex_coverage.tsv"
    threads: ONE
    params:
        source=latex_source,
    script:
        "../scripts/write_latex_coverage.py"


rule write_latex_claims:
    input:
        summary=in_paper_view(CLAIMS_SUMMARY),
        code=library("write_latex_claims.py"),
    output:
        LATEX_OF["claims"],
    log:
        "logs/{study}/write_latex_claims.log",
    benchmark:
        "results/benchmarks/{study}/write_latex_claims.tsv"
    threads: ONE
    params:
        source=latex_source,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/write_latex_claims.py"


rule write_latex_sensitivity:
    input:
        sensitivity=in_paper_view(SENSITIVITY),
        agreement=in_paper_view(SENSITIVITY.replace(".parquet", "_agreement.parquet")),
        code=library("write_latex_sensitivity.py"),
    output:
        LATEX_OF["sensitivity"],
    log:
        "logs/{study}/write_latex_sensitivity.log",
    benchmark:
        "results/benchmarks/{study}/write_latex_sensitivity.tsv"
    threads: ONE
    params:
        source=latex_source,
    script:
        "../scripts/write_latex_sensitivity.py"


rule write_latex_effects:
    input:
        effects=EFFECT_SUMMARY[0],
        by_hook=EFFECT_SUMMARY[3],
        code=library("write_latex_effects.py"),
    output:
        LATEX_OF["effects"],
    log:
        "logs/{study}/write_latex_effects.log",
    benchmark:
        "results/benchmarks/{study}/write_latex_effects.tsv"
    threads: ONE
    params:
        source=latex_source,
    script:
        "../scripts/write_latex_effects.py"


rule write_latex_steering:
    input:
        forecasts=STEERING_SUMMARIES[0],
        next_token=STEERING_SUMMARIES[1],
        paths=every_layer(PATHS_TABLE),
        confidence=every_layer(CONFIDENCE_TABLE),
        code=library("write_latex_steering.py"),
    output:
        LATEX_OF["steering"],
    log:
        "logs/{study}/write_latex_steering.log",
    benchmark:
        "results/benchmarks/{study}/write_latex_steering.tsv"
    threads: ONE
    params:
        source=latex_source,
        sae_ids=sae_ids,
    script:
        "../scripts/write_latex_steering.py"


rule write_latex_planted:
    input:
        planted=PLANTED[0],
        code=library("write_latex_planted.py"),
    output:
        LATEX_OF["planted"],
    log:
        "logs/{study}/write_latex_planted.log",
    benchmark:
        "results/benchmarks/{study}/write_latex_planted.tsv"
    threads: ONE
    params:
        source=latex_source,
        scheme=config["types"]["default_scheme"],
    script:
        "../scripts/write_latex_planted.py"


rule write_latex_null_comparison:
    input:
        compared=NULL_COMPARISON,
        code=library("write_latex_null_comparison.py"),
    output:
        LATEX_OF["nulls"],
    log:
        "logs/{study}/write_latex_null_comparison.log",
    benchmark:
        "results/benchmarks/{study}/write_latex_null_comparison.tsv"
    threads: ONE
    params:
        source=latex_source,
    script:
        "../scripts/write_latex_null_comparison.py"


rule write_latex_ablations:
    input:
        ablations=ABLATIONS,
        code=library("write_latex_ablations.py"),
    output:
        LATEX_OF["ablations"],
    log:
        "logs/{study}/write_latex_ablations.log",
    benchmark:
        "results/benchmarks/{study}/write_latex_ablations.tsv"
    threads: ONE
    params:
        source=latex_source,
    script:
        "../scripts/write_latex_ablations.py"


rule write_latex_speed:
    input:
        moments="benchmarks/results/moments_cpu.json",
        enrichment="benchmarks/results/enrichment_cpu.json",
        stages=STAGES_TIMED,
        code=library("write_latex_speed.py"),
    output:
        speed=SPEED_TABLE,
        compute=COMPUTE_TABLE,
    log:
        "logs/write_latex_speed.log",
    benchmark:
        "results/benchmarks/write_latex_speed.tsv"
    threads: ONE
    script:
        "../scripts/write_latex_speed.py"
