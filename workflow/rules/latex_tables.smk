# Tables -> LaTeX tables for the paper, in the first view that a study draws: one job a study. A study has no table of
# what it was not examined for, so outputs and inputs differ, hence a rule for each.
SPEED_TABLE = "paper/generated/speed.tex"


def latex_inputs(study):
    """The tables behind a study's LaTeX tables: name -> path or paths."""
    view = study.figure_views[0]
    fill = {"study": study.name, "view": view}
    layers = ("moments", "types", "type_counts", "extremes")
    inputs = {name: expand(f"{STAGES}/{name}.parquet", sae=study.sae_ids, **fill) for name in layers}
    inputs["null"] = NULL.format(**fill)
    if view in enriched_views(study):
        inputs["claims"] = CLAIMS.format(**fill)
        inputs["sensitivity"] = SENSITIVITY.format(**fill)
        inputs["agreement"] = SENSITIVITY.replace(".parquet", "_agreement.parquet").format(**fill)
    if view == EFFECT_VIEW:
        inputs["effects"] = EFFECT_SUMMARY[0].format(**fill)
    if study.name in config["planted"]["studies"]:
        inputs["planted"] = PLANTED[0].format(**fill)
    return inputs


def latex_tables(study):
    """The study's LaTeX tables: name -> path."""
    names = ["studies", "moments_by_layer", "types_by_layer", "type_overlap", "exemplars"]
    made_from = {
        "claims": ["claims", "claims_by_scheme"],
        "sensitivity": ["sensitivity", "agreement"],
        "effects": ["effects", "effects_by_type"],
        "planted": ["planted"],
    }
    inputs = latex_inputs(study)
    names += [name for needed, found in made_from.items() if needed in inputs for name in found]
    return {name: f"paper/generated/{study.name}/{name}.tex" for name in names}


def explained(study):
    """An input function: the study's explanations, where `all` has them."""

    def files(wildcards):
        at_hand = explanations_at_hand(study)[0]
        return [path for path in expand(EXPLAINED, study=study.name, sae=study.sae_ids) if path in at_hand]

    return files


LATEX_TABLES = [path for study in STUDIES.values() for path in latex_tables(study).values()] + [SPEED_TABLE]

for study in STUDIES.values():

    rule:
        name:
            f"latex_tables_{study.name}"
        input:
            **latex_inputs(study),
            explanations=explained(study),
            code=library("latex_tables.py"),
        output:
            **latex_tables(study),
        log:
            f"logs/{study.name}/latex_tables.log",
        benchmark:
            f"results/benchmarks/{study.name}/latex_tables.tsv"
        threads: ONE
        resources:
            mem_mb=1000,
        params:
            study=study.name,
            title=study.title,
            view=study.figure_views[0],
            sae_ids=study.sae_ids,
            scheme=config["types"]["default_scheme"],
        script:
            "../scripts/latex_tables.py"


rule latex_tables_speed:
    input:
        moments="benchmarks/results/moments_cpu.json",
        enrichment="benchmarks/results/enrichment_cpu.json",
        code=library("latex_tables_speed.py"),
    output:
        SPEED_TABLE,
    log:
        "logs/latex_tables_speed.log",
    benchmark:
        "results/benchmarks/latex_tables_speed.tsv"
    threads: ONE
    script:
        "../scripts/latex_tables_speed.py"
