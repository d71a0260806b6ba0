# What the types are worth: the published claims put to the test, what the thresholds decide, and whether planted types are
# found again.
CLAIMS = "results/{study}/claims/{view}.parquet"
CLAIMS_SUMMARY = "results/{study}/claims/{view}_summary.parquet"
DIPS = "results/{study}/claims/{view}_dips.parquet"
EVIDENCE += in_enriched_views(CLAIMS)


def layers_and_views(pattern, views):
    """An input function: the pattern for each SAE in turn, and for each of views(wildcards)."""
    return lambda wildcards: expand(
        pattern, sae=STUDIES[wildcards.study].sae_ids, view=views(wildcards), allow_missing=True
    )


def read_views(wildcards):
    return settings.views_read(config, wildcards.view)


rule test_claims:
    input:
        enrichment=every_layer(ENRICHMENT),
        best_sets=every_layer(BEST_SETS),
        discoveries=DISCOVERIES,
        sets=TOKEN_SETS,
        moments=layers_and_views(f"{STAGES}/moments.parquet", read_views),
        types=every_layer(f"{STAGES}/types.parquet"),
        fresh=read_by_schemes(FRESH_NULL),
        layer_fresh=every_layer(LAYER_FRESH_NULL) if LAYER_KINDS else [],
        quantiles=of_model(NULL_QUANTILES),
        layer_quantiles=every_layer(LAYER_NULL_QUANTILES) if LAYER_KINDS else [],
        decoders=every_layer(DECODER),
        unembedding=of_model(UNEMBEDDING),
        transport=transport_of_view,
        code=library("test_claims.py"),
    output:
        claims=CLAIMS,
        summary=CLAIMS_SUMMARY,
        dips=DIPS,
        verdicts="results/{study}/claims/{view}.tsv",
    log:
        "logs/{study}/test_claims/{view}.log",
    benchmark:
        "results/benchmarks/{study}/test_claims/{view}.tsv"
    threads: ONE
    resources:
        mem_mb=3000,
    params:
        view=view_options,
        views=read_views,
        sae_ids=sae_ids,
        schemes=config["types"]["schemes"],
        bootstrap=config["enrichment"]["bootstrap"],
        null_seed=config["nulls"]["seed"],
        settings=config["claims"],
    script:
        "../scripts/test_claims.py"


SENSITIVITY = "results/{study}/sensitivity/{view}.parquet"
EVIDENCE += in_enriched_views(SENSITIVITY)


def every_view(wildcards):
    return STUDIES[wildcards.study].views


rule measure_sensitivity:
    input:
        moments=layers_and_views(f"{STAGES}/moments.parquet", read_views),
        nulls=read_by_schemes(NULL),
        layer_nulls=layers_and_views(LAYER_NULL, read_views) if LAYER_KINDS else [],
        fresh=read_by_schemes(FRESH_NULL),
        layer_fresh=layers_and_views(LAYER_FRESH_NULL, read_views) if LAYER_KINDS else [],
        types=layers_and_views(f"{STAGES}/types.parquet", every_view),
        type_counts=every_layer(f"{STAGES}/type_counts.parquet"),
        best_sets=every_layer(BEST_SETS),
        code=library("measure_sensitivity.py"),
    output:
        **{
            table: f"results/{{study}}/sensitivity/{{view}}_{table}.parquet"
            for table in ("agreement", "stability")
        },
        sensitivity=SENSITIVITY,
    log:
        "logs/{study}/measure_sensitivity/{view}.log",
    benchmark:
        "results/benchmarks/{study}/measure_sensitivity/{view}.tsv"
    threads: ONE
    resources:
        mem_mb=3000,
    params:
        views=read_views,
        every_view=every_view,
        sae_ids=sae_ids,
        schemes=config["types"]["schemes"],
        factors=config["sensitivity"],
    script:
        "../scripts/measure_sensitivity.py"


NULL_COMPARISON = "results/{study}/null_comparison.parquet"
TAIL_SCHEMES = [name for name, scheme in config["types"]["schemes"].items() if "level" in scheme]
if TAIL_SCHEMES:
    EVIDENCE += [
        NULL_COMPARISON.format(study=name) for name in STUDIES if name in config["planted"]["studies"]
    ]


def first_and_last(pattern):
    """An input function: the pattern for the study's first and last SAE in the view that is drawn first."""

    def files(wildcards):
        study = STUDIES[wildcards.study]
        ends = dict.fromkeys([study.sae_ids[0], study.sae_ids[-1]])
        return expand(pattern, sae=ends, view=study.figure_views[0], study=study.name)

    return files


def drawn_first(pattern):
    """An input function: the pattern in the view that is drawn first."""
    return lambda wildcards: at_model(pattern, STUDIES[wildcards.study]).format(
        study=wildcards.study, view=STUDIES[wildcards.study].figure_views[0]
    )


def every_layer_drawn_first(pattern):
    """An input function: the pattern for each of the study's SAEs in the view that is drawn first."""
    return lambda wildcards: expand(
        pattern,
        sae=STUDIES[wildcards.study].sae_ids,
        view=STUDIES[wildcards.study].figure_views[0],
        study=wildcards.study,
    )


rule compare_nulls:
    input:
        tokens=of_model(TOKENS),
        unembedding=of_model(UNEMBEDDING),
        null_quantiles=drawn_first(NULL_QUANTILES),
        decoders=first_and_last(DECODER),
        moments=first_and_last(f"{STAGES}/moments.parquet"),
        code=library("compare_nulls.py"),
    output:
        NULL_COMPARISON,
    log:
        "logs/{study}/compare_nulls.log",
    benchmark:
        "results/benchmarks/{study}/compare_nulls.tsv"
    threads: ONE
    resources:
        mem_mb=2000,
    params:
        view=lambda wildcards: config["views"][STUDIES[wildcards.study].figure_views[0]],
        scheme=[(name, config["types"]["schemes"][name]) for name in TAIL_SCHEMES[:1]],
        isotropic_draws=config["nulls"]["layer_draws"],
        draws=config["planted"]["draws"],
        d_model=config["planted"]["d_model"],
        seed=config["planted"]["seed"],
    script:
        "../scripts/compare_nulls.py"


ABLATIONS = "results/{study}/ablations.parquet"
ABLATED = [name for name in STUDIES if name in config["ablations"]["studies"] and TAIL_SCHEMES]
EVIDENCE += [ABLATIONS.format(study=name) for name in ABLATED]


rule measure_ablations:
    input:
        moments=every_layer_drawn_first(f"{STAGES}/moments.parquet"),
        null=drawn_first(NULL),
        layer_nulls=every_layer_drawn_first(LAYER_NULL) if LAYER_KINDS else [],
        fresh=drawn_first(FRESH_NULL),
        layer_fresh=every_layer_drawn_first(LAYER_FRESH_NULL) if LAYER_KINDS else [],
        decoders=every_layer(DECODER),
        unembedding=of_model(UNEMBEDDING),
        code=library("measure_ablations.py"),
    output:
        ABLATIONS,
    log:
        "logs/{study}/measure_ablations.log",
    benchmark:
        "results/benchmarks/{study}/measure_ablations.tsv"
    threads: HALF
    resources:
        **GPU,
        mem_mb=2000,
    params:
        device=config["device"],
        view=lambda wildcards: config["views"][STUDIES[wildcards.study].figure_views[0]],
        scheme=[(name, config["types"]["schemes"][name]) for name in TAIL_SCHEMES[:1]],
        kinds=LAYER_KINDS,
        sae_ids=sae_ids,
        settings={key: value for key, value in config["ablations"].items() if key != "studies"},
    script:
        "../scripts/measure_ablations.py"


PLANTED = multiext("results/{study}/planted/", "recovery.parquet", "recovery_by_set.parquet")
EVIDENCE += [
    path.format(study=name) for name in STUDIES if name in config["planted"]["studies"] for path in PLANTED
]


rule recover_planted_types:
    input:
        tokens=of_model(TOKENS),
        code=library("recover_planted_types.py"),
    output:
        recovery=PLANTED[0],
        by_set=PLANTED[1],
    log:
        "logs/{study}/recover_planted_types.log",
    benchmark:
        "results/benchmarks/{study}/recover_planted_types.tsv"
    threads: ONE
    resources:
        **GPU,
        mem_mb=2000,
    params:
        device=config["device"],
        schemes=config["types"]["schemes"],
        settings={key: value for key, value in config["planted"].items() if key != "studies"},
    script:
        "../scripts/recover_planted_types.py"
