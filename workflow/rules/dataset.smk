# Results that others can load: `snakemake dataset` writes results/{study}/dataset/ (tables, card, Croissant metadata,
# Neuronpedia's layout, checksums), `snakemake crate` ro-crate-metadata.json, which describes the files of the run. No
# part of `all`, and neither uploads anything.
DATASET = "results/{study}/dataset"
# Table -> where its parts are: of SAEs and views, of views, or of the study. Those that a study lacks are left out.
PUBLISHED = {
    **{table: [f"{STAGES}/{table}.parquet"] for table in MOMENT_TABLES + TYPE_TABLES},
    "clusters": [CLUSTERS],
    "axis_share": [AXIS_SHARE],
    "null": [NULL, LAYER_NULL],
    "null_quantiles": [NULL_QUANTILES, LAYER_NULL_QUANTILES],
    "fresh_null": [FRESH_NULL, LAYER_FRESH_NULL],
    **{
        table: [f"{STAGES}/{table}.parquet"]
        for table in ("best_sets", "enrichment", "scores", "odds_ratios", "splits")
    },
    "discoveries": [DISCOVERIES],
    "set_coverage": [SET_COVERAGE],
    "null_p_values": [NULL_P_VALUES],
    "null_discoveries": [NULL_DISCOVERIES],
    "null_level": [NULL_LEVEL],
    "claims": [CLAIMS],
    "claims_summary": [CLAIMS_SUMMARY],
    "dips": [DIPS],
    "sensitivity": [SENSITIVITY],
    **{table: [SENSITIVITY.replace(".parquet", f"_{table}.parquet")] for table in ("agreement", "stability")},
    "effects": [EFFECT_TABLE],
    "effect_agreement": [AGREEMENT_TABLE],
    "effect_peaks": [PEAK_TABLE],
    "effect_summary": [EFFECT_SUMMARY[0]],
    "effect_retention": [EFFECT_SUMMARY[2]],
    "effects_by_hook": [EFFECT_SUMMARY[3]],
    "steering": [STEERING_TABLE],
    "next_token": [NEXT_TOKEN_TABLE],
    "paths": [PATHS_TABLE],
    "steering_forecasts": [STEERING_SUMMARIES[0]],
    "next_token_summary": [STEERING_SUMMARIES[1]],
    "confidence": [CONFIDENCE_TABLE],
    "explanations": [EXPLAINED],
    "words": [WORDS[0]],
    "token_agreement": [AGREEMENT[0]],
    "fits": [AGREEMENT[1]],
    "recovery": [PLANTED[0]],
    "recovery_by_set": [PLANTED[1]],
    "null_comparison": [NULL_COMPARISON],
    "ablations": [ABLATIONS],
    "token_sets": [TOKEN_SETS],
    "tokens": [TOKENS],
    "neighbours": [NEIGHBOURS],
    "null_shapes": [NULL_SHAPES],
    "contexts": [CONTEXTS],
}
# These are of one view, which their paths don't name as one.
OF_EFFECT_VIEW = (EFFECT_TABLE, AGREEMENT_TABLE, PEAK_TABLE)
# Made beside what `all` asks for.
BESIDE = in_enriched_views(
    CLAIMS_SUMMARY, DIPS, *(PUBLISHED[table][0] for table in ("agreement", "stability"))
)


def asked_of(study):
    """The tables that `all` builds of a study, and those that it builds on the way."""
    found = {
        *WEIGHTS,
        *NULLS,
        *AXIS_SHARES,
        *MOMENTS,
        *TYPES,
        *EFFECTS,
        *EVIDENCE,
        *BESIDE,
        *STEERING,
        *CONFIDENCE,
    }
    if study.name in config["browser"]["studies"]:
        found |= {path for paths in browsed(study).values() for path in paths}
    return found | {*explanations_at_hand(study)[0], *of_saes(CLUSTERS.replace("{study}", study.name), study)}


def published(study):
    """(table, path, SAE, view) of each part of the study's dataset, SAE and view None where the part is of none."""
    there = asked_of(study)
    for table, patterns in PUBLISHED.items():
        for pattern in patterns if table not in config["dataset"]["without"] else []:
            own = at_model(pattern, study)
            for sae in study.sae_ids if "{sae}" in own else [None]:
                for view in study.views if "{view}" in own else [None]:
                    path = own.format(study=study.name, sae=sae, view=view)
                    if path in there:
                        yield table, path, sae, EFFECT_VIEW if pattern in OF_EFFECT_VIEW else view


def dataset_places(wildcards):
    """SAE -> its model and source at Neuronpedia, or the model's folder where it has none there, for params."""
    places = PLACES[wildcards.study]
    return {sae: places[sae] or (MODEL_OF[wildcards.study], None) for sae in sae_ids(wildcards)}


def neuronpedia_view(wildcards):
    """The view of what is in Neuronpedia's layout: the first of the setting that the study has."""
    views = STUDIES[wildcards.study].views
    return next((view for view in config["dataset"]["neuronpedia_views"] if view in views), None)


rule write_dataset:
    input:
        tables=lambda wildcards: [path for _, path, _, _ in published(STUDIES[wildcards.study])],
        citation="CITATION.cff",
        code=library("write_dataset.py"),
    output:
        directory(DATASET),
    log:
        "logs/{study}/write_dataset.log",
    benchmark:
        "results/benchmarks/{study}/write_dataset.tsv"
    threads: ONE
    resources:
        mem_mb=2000,
    params:
        parts=lambda wildcards: [
            (table, sae, view) for table, _, sae, view in published(STUDIES[wildcards.study])
        ],
        title=title,
        places=dataset_places,
        views=lambda wildcards: {view: config["views"][view] for view in STUDIES[wildcards.study].views},
        without=config["dataset"]["without"],
        neuronpedia_view=neuronpedia_view,
    script:
        "../scripts/write_dataset.py"


rule dataset:
    input:
        [DATASET.format(study=study) for study in STUDIES],


CRATE = "ro-crate-metadata.json"
# What a run is made with, beside the weights.
GIVEN = [
    str(path.relative_to(ROOT))
    for pattern in (
        "config/*.yaml",
        "workflow/**/*.py",
        "workflow/**/*.smk",
        "src/fsrl/**/*.py",
        "requirements.lock",
        "CITATION.cff",
    )
    for path in sorted(ROOT.glob(pattern))
]


def made_by_all(wildcards):
    """Everything that `all` builds, once."""
    asked = rules.all.input
    listed = [path for item in asked for path in (item(wildcards) if callable(item) else [item])]
    return list(dict.fromkeys(map(str, listed)))


def scripts_of(wildcards, input):
    """Of each of the run's results the script that makes it, for params."""
    makers = [rule for rule in workflow.rules if rule.script]
    found = []
    for path in input.results:
        script = next((rule.script for rule in makers if rule.is_producer(path)), None)
        found.append(script and f"workflow/scripts/{Path(script).name}")
    return found


def own_weights(wildcards):
    """Weights that lie in folders within the project: files of the crate."""
    found = [path for study in STUDIES.values() for path in study.local_files()]
    return sorted({path for path in found if not Path(path).is_absolute() and ".." not in Path(path).parts})


def overlays(wildcards):
    """The files that were laid over config/config.yaml, by their names in the project's folder where they lie there."""
    named = [(path, os.path.relpath(path)) for path in workflow.config_settings.configfiles]
    return [str(path) if name.split(os.sep)[0] == os.pardir else name for path, name in named]


rule write_run_crate:
    input:
        overlays=overlays,
        results=made_by_all,
        given=GIVEN,
        weights=own_weights,
        workflow="Snakefile",
        citation="CITATION.cff",
        code=library("write_run_crate.py"),
    output:
        CRATE,
    log:
        "logs/write_run_crate.log",
    benchmark:
        "results/benchmarks/write_run_crate.tsv"
    threads: ONE
    params:
        scripts=scripts_of,
        studies=[study.title for study in STUDIES.values()],
        config=dict(config),
    script:
        "../scripts/write_run_crate.py"


rule crate:
    input:
        CRATE,
