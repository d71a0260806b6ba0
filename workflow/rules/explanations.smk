# What features do, in words: Neuronpedia's explanations of the SAEs that it hosts, and local ones of the others, made
# from enrichment; which words go with which type; whether Neuronpedia's tokens and histograms agree with ours.
# Planning asks the cache, never the network: `all` leaves out what is not in it (one line says so), and
# `snakemake --cores 1 explanations` fetches it.
EXPLAINED = "results/{study}/explanations/{sae}.parquet"
WORDS = multiext("results/{study}/explanations/words", ".parquet", ".tsv")
AGREEMENT = multiext("results/{study}/explanations/", "agreement.parquet", "fits.parquet", "fits.tsv")
EXPLAIN = config["explanations"]
NEVER = "explanations.fetch is never"

try:
    # Of each study, {sae: (model, source) at Neuronpedia, or None}.
    PLACES = {study.name: study.neuronpedia() for study in STUDIES.values()}
except FsrlError as error:
    stop(error)


def hosted(study):
    """The study's SAEs that Neuronpedia has."""
    return [sae for sae, place in PLACES[study.name].items() if place]


def unhosted(study):
    return [sae for sae, place in PLACES[study.name].items() if not place]


def not_explained(study):
    """Why this study cannot have explanations; "" where it can."""
    view = EXPLAIN["view"]
    if view not in study.views:
        return f"explanations.view is {view}, which is none of its views"
    if unhosted(study) and view not in enriched_views(study):
        return f"local ones are made from enrichment; add {view} to enrichment.views"
    return NEVER if hosted(study) and EXPLAIN["fetch"] == "never" else ""


def explanation_files(study):
    """What is made of explanations alone, and what needs Neuronpedia's rows of features as well."""
    names = [EXPLAINED.format(study=study.name, sae=sae) for sae in study.sae_ids]
    compared = AGREEMENT if hosted(study) and EXPLAIN["agreement"]["features"] else []
    return names + [path.format(study=study.name) for path in WORDS], [
        path.format(study=study.name) for path in compared
    ]


def explanations_at_hand(study):
    """What `all` asks for of a study, and the line about what it leaves out, "" where that is nothing."""
    if left_out(study, "explanations"):
        return [], ""
    if problem := not_explained(study):
        # Who sets `never` knows.
        return [], "" if problem == NEVER else f"study {study.name} has no explanations: {problem}"
    explained, compared = explanation_files(study)
    if EXPLAIN["fetch"] == "require" or not hosted(study):
        return explained + compared, ""
    # Rows of features are needed for one table alone.
    for kind, needed, rest in (
        ("explanations", explained + compared, []),
        ("features", compared, explained),
    ):
        lacking = study.lacks_export(kind, EXPLAIN["cache"]) if needed else []
        if lacking:
            return rest, (
                f"study {study.name} is built without Neuronpedia's {kind}: {len(lacking)} of "
                f"{len(hosted(study))} sources are not in the cache (the first: {lacking[0]}); get them with "
                f"`snakemake --cores 1 explanations --config study={study.name}`"
            )
    return explained + compared, ""


def EXPLANATIONS(wildcards):
    """The input function of `all`: not called, and no line printed, where nobody asks for `all`."""
    found = []
    for study in STUDIES.values():
        try:
            files, line = explanations_at_hand(study)
        except FsrlError as error:
            stop(error)
        if line:
            skip(line)
        found += files
    return found


def every_explanation(wildcards):
    """The input function of `explanations`: all that can be had, from the network too."""
    found = []
    for study in STUDIES.values():
        if problem := not_explained(study):
            # Of several studies those that leave them out are passed over.
            if left_out(study, "explanations") and len(STUDIES) > 1:
                continue
            stop(f"study {study.name} has no explanations: {problem}")
        found += sum(explanation_files(study), [])
    return found


rule explanations:
    input:
        every_explanation,


def in_explained_view(table, saes):
    """A table of these SAEs in the view whose types and enrichment explanations are compared with or made from."""
    return expand(f"{STAGES}/{table}.parquet", view=EXPLAIN["view"], sae=saes, allow_missing=True)


def explains_together(study):
    """Does one job explain all of the study's SAEs? Where the study says so, and the network has not to be asked."""
    return study.one_job and not hosted(study)


def explained_from(table, study, *, of_hosted):
    """A table of each SAE of a job, if Neuronpedia has it (or has it not): an input, or an input function."""
    if explains_together(study):
        return [] if of_hosted else in_explained_view(table, study.sae_ids)

    def paths(wildcards):
        place = PLACES[wildcards.study][wildcards.sae]
        return in_explained_view(table, wildcards.sae) if bool(place) == of_hosted else []

    return paths


def clustered(wildcards):
    """The tables that say which features are near copies; without enrichment every feature counts."""
    study = STUDIES[wildcards.study]
    return in_explained_view("best_sets", study.sae_ids) if EXPLAIN["view"] in enriched_views(study) else []


def hosted_places(wildcards):
    """SAE -> its model and source at Neuronpedia, for params."""
    return {sae: PLACES[wildcards.study][sae] for sae in hosted(STUDIES[wildcards.study])}


# A job an SAE where the network has to be asked: it takes minutes, and each can fail alone.
for study in STUDIES.values():

    rule:
        name:
            f"explain_features_{study.name}"
        input:
            types=explained_from("types", study, of_hosted=True),
            best_sets=explained_from("best_sets", study, of_hosted=False),
            enrichment=explained_from("enrichment", study, of_hosted=False),
            extremes=explained_from("extremes", study, of_hosted=False),
            code=library("explain_features.py"),
        output:
            of_saes(EXPLAINED, study) if explains_together(study) else EXPLAINED,
        log:
            f"logs/{folder_of_job(explains_together(study))}/explain_features.log",
        benchmark:
            f"results/benchmarks/{folder_of_job(explains_together(study))}/explain_features.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: ONE
        resources:
            mem_mb=2000,
        params:
            place=(
                None
                if explains_together(study)
                else lambda wildcards: PLACES[wildcards.study][wildcards.sae]
            ),
            scheme=config["types"]["default_scheme"],
            level=config["enrichment"]["level"],
            cache=EXPLAIN["cache"],
        script:
            "../scripts/explain_features.py"


rule compare_explanations:
    input:
        decoders=lambda wildcards: expand(DECODER, sae=hosted(STUDIES[wildcards.study]), allow_missing=True),
        unembedding=of_model(UNEMBEDDING),
        code=library("compare_explanations.py"),
    output:
        agreement=AGREEMENT[0],
        fits=AGREEMENT[1],
        tsv=AGREEMENT[2],
    log:
        "logs/{study}/compare_explanations.log",
    benchmark:
        "results/benchmarks/{study}/compare_explanations.tsv"
    threads: ALL
    resources:
        mem_mb=3000,
    params:
        places=hosted_places,
        settings=EXPLAIN["agreement"],
        cache=EXPLAIN["cache"],
    script:
        "../scripts/compare_explanations.py"


rule count_explanation_words:
    input:
        explanations=every_layer(EXPLAINED),
        types=lambda wildcards: in_explained_view("types", sae_ids(wildcards)),
        best_sets=clustered,
        code=library("count_explanation_words.py"),
    output:
        words=WORDS[0],
        tsv=WORDS[1],
    log:
        "logs/{study}/count_explanation_words.log",
    benchmark:
        "results/benchmarks/{study}/count_explanation_words.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        sae_ids=sae_ids,
        scheme=config["types"]["default_scheme"],
        settings=EXPLAIN["words"],
    script:
        "../scripts/count_explanation_words.py"
