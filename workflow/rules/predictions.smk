# What was predicted before the tables were seen (config["predictions"]), judged from the tables of the studies. No weights
# are fetched for it: a study that has neither weights nor tables here is `not run`, with the reason. Not part of `all`.
from functools import cache

JUDGED = multiext("results/predictions", ".parquet", ".tsv")


@cache
def predicted():
    """What the file holds, and what can be judged of it; read only where somebody asks."""
    # Seconds for whoever plans, if every plan did it.
    import registered

    try:
        config_files.check([Path(config["predictions"])], [])
        content = settings.predictions(
            config["predictions"], ROOT / "workflow/schemas/predictions.schema.yaml"
        )
        found = registered.read(content["predictions"], config, study_named)
        return content, registered.plan(found, study_named, asked=STUDIES, path_of=table_path)
    except FsrlError as error:
        stop(error)


@cache
def study_named(name):
    """A study of the config, whether it was asked for or not."""
    return ASKED.get(name) or studies.resolve(name, config)


def table_path(key):
    """Where a table lies, by what names it."""
    study, sae, view, table = key
    return f"{STAGES}/{table}.parquet".format(study=study, sae=sae, view=view)


rule judge_predictions:
    input:
        tables=lambda _: list(predicted()[1].paths.values()),
        registered=config["predictions"],
        code=library("judge_predictions.py"),
    output:
        parquet=JUDGED[0],
        tsv=JUDGED[1],
    log:
        "logs/judge_predictions.log",
    benchmark:
        "results/benchmarks/judge_predictions.tsv"
    threads: ONE
    resources:
        mem_mb=2000,
    params:
        registered=lambda _: predicted()[0]["registered"],
        written=lambda _: predicted()[0]["predictions"],
        names=lambda _: [list(key) for key in predicted()[1].paths],
        not_run=lambda _: predicted()[1].not_run,
    script:
        "../scripts/judge_predictions.py"


# It has no output, so that it prints the verdicts however long they stand.
rule predictions:
    input:
        judged=JUDGED[0],
        code=library("print_predictions.py"),
    log:
        "logs/predictions.log",
    threads: 1
    script:
        "../scripts/print_predictions.py"
