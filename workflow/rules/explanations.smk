# What features do, in words: Neuronpedia's explanations of the SAEs that it hosts, and local ones of the others, made
# from enrichment; which words go with which type; whether Neuronpedia's tokens and histograms agree with ours.
# Planning asks the cache, never the network: `all` leaves out what is not in it (one line says so), and
# `snakemake explanations` fetches it.
from functools import partial

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


SAID = set()


def EXPLANATIONS(wildcards):
    """The input function of `all`: not called, and no line printed, where nobody asks for `all`."""
    found = []
    for study in STUDIES.values():
        try:
            files, line = explanations_at_hand(study)
        except FsrlError as error:
            stop(error)
        if line and line not in SAID:
            print(line, file=sys.stderr)
            SAID.add(line)
        found += files
    return found


def every_explanation(wildcards):
    """The input function of `explanations`: all that can be had, from the network too."""
    found = []
    for study in STUDIES.values():
        if problem := not_explained(study):
            stop(f"study {study.name} has no explanations: {problem}")
        found += sum(explanation_files(study), [])
    return found


rule explanations:
    input:
        every_explanation,


for study in STUDIES.values():
    # The view's tables of a study that has it; a study that has not never gets as far as a job.
    tables_of = partial(expand, study=study.name, view=EXPLAIN["view"])

    if hosted(study):

        # A job a source: it takes minutes where the network has to be asked, and each can fail alone.
        rule:
            name:
                f"explanations_neuronpedia_{study.name}"
            input:
                types=f"results/{study.name}/{{sae}}/{EXPLAIN['view']}/types.parquet",
                code=library("explanations_neuronpedia.py"),
            output:
                f"results/{study.name}/explanations/{{sae}}.parquet",
            log:
                f"logs/{study.name}/{{sae}}/explanations_neuronpedia.log",
            benchmark:
                f"results/benchmarks/{study.name}/{{sae}}/explanations_neuronpedia.tsv"
            wildcard_constraints:
                sae=any_of(hosted(study)),
            threads: ONE
            resources:
                mem_mb=2000,
            params:
                place=lambda wildcards, places=PLACES[study.name]: places[wildcards.sae],
                scheme=config["types"]["default_scheme"],
                cache=EXPLAIN["cache"],
            script:
                "../scripts/explanations_neuronpedia.py"

        rule:
            name:
                f"explanations_agreement_{study.name}"
            input:
                decoders=expand(DECODER, study=study.name, sae=hosted(study)),
                unembedding=UNEMBEDDING.format(study=study.name),
                code=library("explanations_agreement.py"),
            output:
                agreement=AGREEMENT[0].format(study=study.name),
                fits=AGREEMENT[1].format(study=study.name),
                tsv=AGREEMENT[2].format(study=study.name),
            log:
                f"logs/{study.name}/explanations_agreement.log",
            benchmark:
                f"results/benchmarks/{study.name}/explanations_agreement.tsv"
            threads: ALL
            resources:
                mem_mb=3000,
            params:
                places={sae: PLACES[study.name][sae] for sae in hosted(study)},
                settings=EXPLAIN["agreement"],
                cache=EXPLAIN["cache"],
            script:
                "../scripts/explanations_agreement.py"

    if unhosted(study):

        rule:
            name:
                f"explanations_local_{study.name}"
            input:
                best_sets=tables_of(BEST_SETS, sae=unhosted(study)),
                enrichment=tables_of(ENRICHMENT, sae=unhosted(study)),
                extremes=tables_of(f"{STAGES}/extremes.parquet", sae=unhosted(study)),
                code=library("explanations_local.py"),
            output:
                expand(EXPLAINED, study=study.name, sae=unhosted(study)),
            log:
                f"logs/{study.name}/explanations_local.log",
            benchmark:
                f"results/benchmarks/{study.name}/explanations_local.tsv"
            threads: ONE
            resources:
                mem_mb=1000,
            params:
                level=config["enrichment"]["level"],
            script:
                "../scripts/explanations_local.py"

    rule:
        name:
            f"explanations_words_{study.name}"
        input:
            explanations=expand(EXPLAINED, study=study.name, sae=study.sae_ids),
            types=tables_of(f"{STAGES}/types.parquet", sae=study.sae_ids),
            # Whose near copies count once; without enrichment every feature counts.
            best_sets=(
                tables_of(BEST_SETS, sae=study.sae_ids) if EXPLAIN["view"] in enriched_views(study) else []
            ),
            code=library("explanations_words.py"),
        output:
            words=WORDS[0].format(study=study.name),
            tsv=WORDS[1].format(study=study.name),
        log:
            f"logs/{study.name}/explanations_words.log",
        benchmark:
            f"results/benchmarks/{study.name}/explanations_words.tsv"
        threads: ONE
        resources:
            mem_mb=1000,
        params:
            sae_ids=study.sae_ids,
            scheme=config["types"]["default_scheme"],
            settings=EXPLAIN["words"],
        script:
            "../scripts/explanations_words.py"
