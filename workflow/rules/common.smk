# What the rules share: the checked config, the library as an input, shares of the machine.
import re

import imports
import locks
import scheduling
import settings
import studies
from fsrl import files, machine

scheduling.remember()

# What this run leaves out, a line each; rules/end.smk says it again at the end.
SKIPPED = []


def skip(line):
    """Say once, as the run begins, what it leaves out and how to get it; the jobs' own snakemakes are silent."""
    if workflow.is_main_process and line not in SKIPPED:
        SKIPPED.append(line)
        say(line)


def hold_lock():
    """See to it that no other run is at work in this folder until this one ends."""
    try:
        locks.hold(Path(".snakemake/fsrl.lock"))
    except FsrlError as error:
        stop(error)
    except OSError as error:
        say(f"no lock on this file system ({error.strerror}): let one run at a time work in this folder")


def built(asked):
    """The studies that can be built here: one that is asked for by name is fetched, others may be skipped."""
    # The jobs that snakemake starts read this file again; what to build has been decided by then.
    if "study" in config or not workflow.is_main_process:
        return list(asked)
    skipped = [study for study in asked if study.lacks_weights()]
    for study in skipped:
        skip(study.how_to_get())
    return [study for study in asked if study not in skipped]


try:
    settings.check(config, ROOT / "workflow/schemas/config.schema.yaml")
    # Those asked for, and of these the ones that are built; by name.
    ASKED = {name: studies.resolve(name, config) for name in settings.studies(config)}
    for study in ASKED.values():
        settings.check_saes(study.name, study.sae_ids)
    STUDIES = {study.name: study for study in built(ASKED.values())}
    if workflow.is_main_process:
        # Those with effects planned before anyone can tell whether they have any; scripts/export_weights.py asks.
        UNREAD = [
            study
            for study in STUDIES.values()
            if "effects" not in study.without and config["effects"]["view"] in study.views and study.unread()
        ]
        os.environ["FSRL_UNREAD"] = "\n".join(study.name for study in UNREAD)
        for study in STUDIES.values():
            studies.check(study, config)
            if line := study.trained_on_another():
                say(line)
            if study in UNREAD:
                say(
                    f"study {study.name}: whether its SAEs are transcoders, which have no effects, is known once their "
                    "files are here; if they are, this run stops there, and the same command then leaves effects out"
                )
            for view in studies.left_out(study.name, config):
                skip(
                    f"study {study.name} is built without view {view}: with transport each layer has isotropic "
                    "directions of its own, beside other kinds; add one to nulls.kinds"
                )
    # A job of heavy work claims a GPU where there is one. With --jobs for a cluster the jobs run on other machines.
    CLUSTER = workflow.remote_exec or workflow.resource_settings.nodes is not None
    GPUS = settings.gpus(config["device"], elsewhere=CLUSTER)
    # On a cluster a job uses no GPU that it did not claim, should its node show one: it may be another job's. The jobs'
    # own snakemakes come by here too, and their scripts see what is set here.
    if CLUSTER and not GPUS:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
except FsrlError as error:
    stop(error)

STAGES = "results/{study}/{sae}/{view}"
# What a model decides alone, for all studies of it (see studies.model_folders).
OF_MODEL = "results/models/{model}"
MODEL_OF = studies.model_folders(config)
# Model -> the first study of it, since any tells where it comes from; and the views of all of them.
MODELS = {MODEL_OF[study.name]: study for study in reversed(list(STUDIES.values()))}
# The same of all studies asked for: what one that is skipped lacks can be fetched.
MODELS_ASKED = {MODEL_OF[name]: study for name, study in reversed(list(ASKED.items()))} | MODELS
MODEL_VIEWS = {model: studies.model_views(config, model) for model in MODELS}


def any_of(names):
    """A wildcard's pattern: one of these names."""
    return "|".join(map(re.escape, sorted(set(names))))


wildcard_constraints:
    study=any_of(STUDIES),
    model=any_of(MODELS),
    sae=any_of(sae for study in STUDIES.values() for sae in study.sae_ids),
    view=any_of(config["views"]),


def library(script):
    """A script of workflow/scripts and the files of the library that it imports: the inputs that are code."""
    return code_of(ROOT / "workflow/scripts" / script)


def code_of(path):
    """A Python file and the files of the library that it imports."""
    try:
        files = [path, *imports.closure(path, ROOT / "src/fsrl")]
    except FsrlError as error:
        stop(error)
    return [str(file.relative_to(ROOT)) for file in files]


def at_model(pattern, study):
    """The pattern with the folder of the study's model; what else it names is left open."""
    return pattern.replace("{model}", MODEL_OF[study.name])


def of_model(pattern):
    """An input function: the pattern with the folder of the study's model; Snakemake fills the rest."""
    return lambda wildcards: at_model(pattern, STUDIES[wildcards.study])


def all_of_model(*patterns):
    """The same for several patterns: a list, of one as well."""
    return lambda wildcards: [at_model(pattern, STUDIES[wildcards.study]) for pattern in patterns]


def targets(*patterns, views="views"):
    """The patterns for every SAE and view of the studies that are built."""
    return [
        pattern.format(study=name, model=MODEL_OF[name], sae=sae, view=view)
        for name, study in STUDIES.items()
        for view in getattr(study, views)
        for sae in study.sae_ids
        for pattern in patterns
    ]


def every_layer(pattern):
    """An input function: the pattern for each of the study's SAEs, in the config's order."""
    return lambda wildcards: of_saes(pattern, STUDIES[wildcards.study])


def of_saes(pattern, study):
    """The pattern for each of the study's SAEs, in the config's order; what else it names is left open."""
    return expand(pattern, sae=study.sae_ids, allow_missing=True)


def of_views(pattern, study):
    """The pattern for each of the study's views, in the config's order; what else it names is left open."""
    return expand(pattern, view=study.views, allow_missing=True)


def left_out(study, part):
    """Whether the study is built without this part of what is made by default, as its `without` says, or its SAEs."""
    if part == "effects" and part not in study.without and (found := study.transcoders()):
        skip(
            f"study {study.name} is built without effects: {found[0]} is a transcoder, whose features are read at "
            "another place of the model than they write to"
        )
        return True
    if part == "steering" and part not in study.without and (odd := study.unlike_gpt2()):
        skip(
            f"study {study.name} is built without steering: {odd}, and it is measured through GPT-2's blocks"
        )
        return True
    if part not in study.without:
        return False
    skip(f"study {study.name} is built without {', '.join(study.without)} (studies.{study.name}.without)")
    return True


def sae_ids(wildcards):
    """The study's SAEs, for params."""
    return STUDIES[wildcards.study].sae_ids


def title(wildcards):
    """The study's title, for params."""
    return STUDIES[wildcards.study].title


def text_of(study):
    """The study's held-out text; where there is none, only those are stopped who ask for what reads it."""
    try:
        return study.text()
    except FsrlError as error:
        stop(error)


def evaluation_text(wildcards):
    """The study's held-out text, an input."""
    return text_of(STUDIES[wildcards.study])


def view_options(wildcards):
    """The keyword arguments of weights.view for this view."""
    return config["views"][wildcards.view]


# What a rule of heavy work adds to its resources: nothing where there is no GPU, so that nothing waits for one. This machine
# counts as one GPU (Torch takes the first): no two such jobs run at once on it, and other jobs go on beside them.
GPU = {"gpu": GPUS} if GPUS else {}
if GPUS and not CLUSTER and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", 1)


def together(study):
    """Does one job do all of the study's SAEs? On a GPU, since its start takes longer than an SAE, and where the study
    says so; else each has a job: on a CPU single threads side by side use the cores better than one after the other.
    """
    return bool(GPUS) or study.one_job


def job_of(study):
    """The folder of logs of a job of heavy work."""
    return folder_of_job(together(study))


def folder_of_job(of_all):
    """The folder of logs of a job, of all of a study's SAEs or of one."""
    return "{study}" if of_all else "{study}/{sae}"


def of_job(pattern, study):
    """The pattern for each SAE of a job of heavy work."""
    return of_saes(pattern, study) if together(study) else [pattern]


def of_job_in_views(pattern, study):
    """The pattern for each SAE of a job of heavy work, in each of the study's views in turn."""
    return [path for own in of_job(pattern, study) for path in of_views(own, study)]


# --cores 8 on a machine of two cores must not start eight busy jobs. A rule that uses several threads claims HALF, or ALL
# where nothing else can run meanwhile; one that uses a single thread claims as many as its share of the cores that exist.
# Jobs cap their own threads at those cores as well (fsrl.joblog). On a cluster ALL are those of one submission, and one
# thread is one.
ALL = workflow.cores or machine.cores()
ONE = -(-ALL // machine.cores()) if workflow.nodes is None else 1


# A job that multiplies with several threads: another goes on beside it, and it starts as soon as half of the cores are free.
# One that claims all waits until no job of one thread is left, and so do those that wait for it.
HALF = max(ONE, ALL // 2)


def beside_model(amount):
    """Memory (MB) of a job that runs the study's model: this amount and the model, in float32.

    Snakemake asks again once what the job reads is here: weights that are yet to be fetched count then.
    """
    return lambda wildcards: amount + STUDIES[wildcards.study].model_mb()


# Right before the first job of a run (not of a dry run, nor of the processes that jobs are). A second run beside it would
# take the first one's files for half made; what killed jobs left half written beside files that nobody writes again goes.
onstart:
    if workflow.is_main_process:
        hold_lock()
    scheduling.wait_for_jobs(workflow.scheduler)
    files.sweep(path for place in ("results", "figures", "paper") for path in Path(place).rglob(".*.tmp"))
