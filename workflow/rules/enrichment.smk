# Token sets, and which of them features promote or suppress; whether the test of that holds where there is nothing to
# be found.
TOKEN_SETS = "results/{study}/token_sets.parquet"
TOKEN_SET_LIST = "results/{study}/token_set_list.tsv"
ENRICHMENT = f"{STAGES}/enrichment.parquet"
BEST_SETS = f"{STAGES}/best_sets.parquet"
ODDS_RATIOS = f"{STAGES}/odds_ratios.parquet"
SPLITS = f"{STAGES}/splits.parquet"
DISCOVERIES = "results/{study}/discoveries/{view}.parquet"
NULL_P_VALUES = "results/{study}/null_p_values/{view}.parquet"
NULL_DISCOVERIES = "results/{study}/null_p_values/{view}_discoveries.parquet"
NULL_LEVEL = "results/{study}/null_p_values/{view}_level.parquet"
SET_COVERAGE = "results/{study}/set_coverage/{view}.parquet"
# What of the settings decides p: the directions that sets are held against.
SET_NULLS = {key: config["enrichment"][key] for key in ("draws", "seed")}


def enriched_views(study):
    """The study's views whose enrichment is computed."""
    if left_out(study, "enrichment"):
        return []
    wanted = config["enrichment"]["views"]
    return study.figure_views if wanted is None else [view for view in study.views if view in wanted]


def in_enriched_views(*patterns):
    """The patterns for every study and view with enrichment, and each of the study's SAEs where they name one."""
    return [
        path
        for study in STUDIES.values()
        for view in enriched_views(study)
        for pattern in patterns
        for path in dict.fromkeys(
            pattern.format(study=study.name, view=view, sae=sae) for sae in study.sae_ids
        )
    ]


EVIDENCE = sorted(set(in_enriched_views(TOKEN_SETS, TOKEN_SET_LIST)))
EVIDENCE += in_enriched_views(ENRICHMENT, BEST_SETS, f"{STAGES}/scores.parquet", ODDS_RATIOS, SPLITS)
EVIDENCE += in_enriched_views(DISCOVERIES, SET_COVERAGE, NULL_P_VALUES, NULL_DISCOVERIES, NULL_LEVEL)


rule find_token_sets:
    input:
        unembedding=of_model(UNEMBEDDING),
        code=library("find_token_sets.py"),
    output:
        sets=TOKEN_SETS,
        list=TOKEN_SET_LIST,
    log:
        "logs/{study}/find_token_sets.log",
    benchmark:
        "results/benchmarks/{study}/find_token_sets.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        extra=config["token_sets"]["extra"],
    script:
        "../scripts/find_token_sets.py"


for study in STUDIES.values():

    rule:
        name:
            f"test_enrichment_{study.name}"
        input:
            decoders=of_job(DECODER, study),
            unembedding=of_model(UNEMBEDDING),
            sets=TOKEN_SETS,
            transport=transport_of_view,
            code=library("test_enrichment.py"),
        output:
            of_job(ENRICHMENT, study),
        log:
            f"logs/{job_of(study)}/{{view}}/test_enrichment.log",
        benchmark:
            f"results/benchmarks/{job_of(study)}/{{view}}/test_enrichment.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: ONE
        resources:
            **GPU,
            mem_mb=2000,
        params:
            **SET_NULLS,
            device=config["device"],
            view=view_options,
        script:
            "../scripts/test_enrichment.py"


# The false discovery rate is one over all layers; what follows from it is written layer by layer, hence a rule a study.
for study in STUDIES.values():

    rule:
        name:
            f"summarise_enrichment_{study.name}"
        input:
            enrichment=of_saes(ENRICHMENT, study),
            decoders=of_saes(DECODER, study),
            types=of_saes(f"{STAGES}/types.parquet", study),
            clusters=of_saes(CLUSTERS, study),
            unembedding=of_model(UNEMBEDDING),
            sets=TOKEN_SETS,
            null_discoveries=NULL_DISCOVERIES,
            transport=transport_of_view,
            code=library("summarise_enrichment.py"),
        output:
            **{
                table: of_saes(f"{STAGES}/{table}.parquet", study)
                for table in ("best_sets", "odds_ratios", "scores", "splits")
            },
            discoveries=DISCOVERIES,
            set_coverage=SET_COVERAGE,
        log:
            "logs/{study}/summarise_enrichment/{view}.log",
        benchmark:
            "results/benchmarks/{study}/summarise_enrichment/{view}.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: HALF
        resources:
            **GPU,
            mem_mb=3000,
        params:
            device=config["device"],
            view=view_options,
            sae_ids=study.sae_ids,
            scheme=config["types"]["default_scheme"],
            settings={
                key: value
                for key, value in config["enrichment"].items()
                if key not in ("views", "draws", "repetitions")
            },
        script:
            "../scripts/summarise_enrichment.py"


rule null_p_values:
    input:
        enrichment=every_layer(ENRICHMENT),
        decoders=every_layer(DECODER),
        unembedding=of_model(UNEMBEDDING),
        sets=TOKEN_SETS,
        transport=transport_of_view,
        code=library("null_p_values.py"),
    output:
        p_values=NULL_P_VALUES,
        discoveries=NULL_DISCOVERIES,
        level=NULL_LEVEL,
    log:
        "logs/{study}/null_p_values/{view}.log",
    benchmark:
        "results/benchmarks/{study}/null_p_values/{view}.tsv"
    threads: HALF
    resources:
        **GPU,
        mem_mb=3000,
    params:
        **SET_NULLS,
        device=config["device"],
        view=view_options,
        sae_ids=sae_ids,
        level=config["enrichment"]["level"],
        repetitions=config["enrichment"]["repetitions"],
    script:
        "../scripts/null_p_values.py"
