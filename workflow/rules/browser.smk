# A static site of each study: all features in a plane and a table, and a page for each. `snakemake browser` writes it for
# the studies that are built; `all` for those that config.yaml names.
from fsrl.neuronpedia import links as neuronpedia_links

BROWSER = "results/{study}/browser"
NEIGHBOURS = "results/{study}/{sae}/neighbours.parquet"
CONTEXTS = "results/{study}/{sae}/contexts.parquet"
NULL_SHAPES = f"{STAGES}/null_shapes.parquet"
BROWSERS = [BROWSER.format(study=name) for name in config["browser"]["studies"] if name in STUDIES]


def browsed(study):
    """Table -> its files, one for each of the study's SAEs, in the view that the paper shows; {study} is left open."""
    view = paper_view(study)
    moved = [one for one in own_views(study) if one != view][:1]

    def of_view(table, view):
        return of_saes(f"{STAGES}/{table}.parquet".replace("{view}", view), study)

    found = {table: of_view(table, view) for table in [*MOMENT_TABLES, "types"]}
    found |= {"shapes": of_view("null_shapes", view), "neighbours": of_saes(NEIGHBOURS, study)}
    found["null"] = of_view("null", view) if LAYER_KINDS else []
    enriched = ["enrichment", "best_sets", "scores"]
    found |= {table: of_view(table, view) if view in enriched_views(study) else [] for table in enriched}
    for table in ("effects", "agreement"):
        found[table] = of_view(table, view) if view == EFFECT_VIEW and study in MEASURED else []
    found["contexts"] = of_saes(CONTEXTS, study) if study in MEASURED else []
    own = of_saes(EXPLAINED.format(study=study.name, sae="{sae}"), study)
    found["explanations"] = own if set(own) <= set(explanations_at_hand(study)[0]) else []
    found |= {f"transported_{table}": of_view(table, view) for view in moved for table in MOMENT_TABLES}
    return found


def said_of(study):
    """What the site says of its study besides its tables."""
    view = paper_view(study)
    moved = [one for one in own_views(study) if one != view][:1]
    places = PLACES[study.name]
    return {
        "study": study.name,
        "title": study.title,
        "view": view,
        "scheme": config["types"]["default_scheme"],
        "saes": study.sae_ids,
        "neuronpedia": [
            neuronpedia_links.feature_url(*places[sae], 0)[:-1] if places[sae] else None
            for sae in study.sae_ids
        ],
        "transported": moved[0] if moved else None,
        "text": Path(study.evaluation_text).name if study in MEASURED else None,
        "unit": "cosine" if config["views"][view]["cosine"] else "logit per unit of activation",
    }


# The same models as those whose effects are measured: the SAEs' encoders are run on the same text.
for study in MEASURED:

    rule:
        name:
            f"find_contexts_{study.name}"
        input:
            weights=local_files,
            fetched=fetched,
            decoders=of_saes(DECODER, study),
            text=evaluation_text,
            code=library("find_contexts.py"),
        output:
            of_saes(CONTEXTS, study),
        log:
            "logs/{study}/find_contexts.log",
        benchmark:
            "results/benchmarks/{study}/find_contexts.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: HALF
        resources:
            **GPU,
            mem_mb=beside_model(3000),
        params:
            source=source_of,
            settings={**config["browser"]["text"], "context": config["effects"]["context"]},
            device=config["device"],
        script:
            "../scripts/find_contexts.py"


rule browser:
    input:
        [BROWSER.format(study=name) for name in STUDIES],


for study in STUDIES.values():

    rule:
        name:
            f"compare_directions_{study.name}"
        input:
            decoders=of_saes(DECODER, study),
            unembedding=of_model(UNEMBEDDING),
            transport=matrices_of(study, [paper_view(study)]),
            code=library("compare_directions.py"),
        output:
            neighbours=of_saes(NEIGHBOURS, study),
            shapes=of_saes(NULL_SHAPES.replace("{view}", paper_view(study)), study),
        log:
            "logs/{study}/compare_directions.log",
        benchmark:
            "results/benchmarks/{study}/compare_directions.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: HALF
        resources:
            **GPU,
            mem_mb=3000,
        params:
            device=config["device"],
            view=config["views"][paper_view(study)],
            n_bins=config["moments"]["n_bins"],
            seed=config["nulls"]["seed"],
        script:
            "../scripts/compare_directions.py"

    rule:
        name:
            f"write_browser_{study.name}"
        input:
            **browsed(study),
            shared_null=at_model(NULL, study).replace("{view}", paper_view(study)),
            tokens=of_model(TOKENS),
            code=library("write_browser.py"),
        output:
            directory(BROWSER),
        log:
            "logs/{study}/write_browser.log",
        benchmark:
            "results/benchmarks/{study}/write_browser.tsv"
        wildcard_constraints:
            study=re.escape(study.name),
        threads: ONE
        resources:
            mem_mb=2000,
        params:
            tables=list(browsed(study)),
            said=said_of(study),
        script:
            "../scripts/write_browser.py"
