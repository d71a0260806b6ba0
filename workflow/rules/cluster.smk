# What jobs ask of a cluster, and which jobs share one of its jobs (profiles/slurm); on one machine nothing of this
# counts. In one place because the rules of a study have its name in theirs, which no profile could list.
#
# Minutes are at least five times what gpt2-small took at full shapes on two cores (docs/reference/times.md), and no
# less than ten: a start from a busy file system takes a minute or two, and the largest SAEs are five times as wide.
# Memory stands in the rules, as measured there, and where a job runs the model with the model's own size beside it; the time of
# compare_directions grows with the square of the SAEs. Both grow with every attempt (`retries` in the profile).
#
# Jobs of one group, its wildcards filled in, are one submission (`group-components` in the profile): a study of a hundred
# jobs is one or two dozen to a cluster. A group must not need itself by way of another one, and SLURM's log lies in a folder
# with the group's and its rules' names, of 255 letters at most.
from snakemake.resources import Resources

CLUSTER = {
    "model.{model}": {"export_model": 10, "compute_null_moments": 10},
    "weights.{study}": {
        "export_weights": 10,
        "find_token_sets": 10,
        "cluster_features": 10,
        "measure_activation_covariances": 20,
        "measure_axis_shares": 10,
        "fit_transport": 30,
        "write_lens": 10,
        "read_lens": 10,
    },
    "layer.{study}.{sae}": {
        "compute_moments": 10,
        "compute_layer_nulls": 10,
        "assign_types": 10,
        "test_enrichment": 10,
    },
    "evidence.{study}": {
        "summarise_enrichment": 20,
        "null_p_values": 10,
        "test_claims": 20,
        "measure_sensitivity": 10,
        "measure_ablations": 20,
        "explain_features": 10,
        "compare_explanations": 20,
        "count_explanation_words": 10,
    },
    "planted.{study}": {"recover_planted_types": 20, "compare_nulls": 10},
    "browser.{study}": {"compare_directions": 60, "find_contexts": 30, "write_browser": 20},
    "effects.{study}": {"measure_effects": 60, "effect_summary": 10},
    "steering.{study}": {
        "measure_steering": 60,
        "summarise_steering": 10,
        "measure_confidence": 10,
    },
    "figures.{study}": {
        "summarise_types": 10,
        "draw_layer_figures": 10,
        "draw_study_figures": 10,
        "draw_headline": 10,
        "draw_view_figures": 10,
        "draw_evidence_figures": 10,
        "draw_effect_figures": 10,
        "draw_transport_figures": 10,
        "draw_planted_figures": 10,
    },
    "tables.{study}": {
        "write_latex_study": 10,
        "write_latex_claims": 10,
        "write_latex_coverage": 10,
        "write_latex_sensitivity": 10,
        "write_latex_effects": 10,
        "write_latex_steering": 10,
        "write_latex_planted": 10,
        "write_latex_null_comparison": 10,
        "write_latex_ablations": 10,
        "write_paper_numbers": 10,
    },
    "paper": {
        "compare_dictionaries": 10,
        "draw_dictionaries": 10,
        "write_latex_dictionaries": 10,
        "find_counterparts": 10,
        "write_latex_counterparts": 10,
        "write_latex_speed": 10,
        "write_paper_index": 10,
        "compile_paper_pdf": 10,
        "bundle_paper_source": 10,
    },
    "notebooks": {"run_notebook": 10},
    "dataset.{study}": {"write_dataset": 30},
    "crate": {"write_run_crate": 10},
}


# Whatever reaches for the network runs where snakemake does: the nodes of most clusters have none. So do the seconds that
# judge predictions, and those that list releases, and print them.
localrules:
    download,
    fetch_lens,
    fetch_model,
    fetch_weights,
    judge_predictions,
    list_releases,
    predictions,
    studies,


def growing(amount):
    """A resource that is `amount` at the first attempt and as much more at each further one.

    amount: a number, or a function that says it of the wildcards.
    """
    if callable(amount):
        return lambda wildcards, attempt: amount(wildcards) * attempt
    return lambda wildcards, attempt: amount * attempt


def minutes_of(asked, script, minutes):
    """The minutes of a script's rule; every SAE compared with every other one: those of GPT-2's 13."""
    saes = len(asked.output) // 2 if script == "compare_directions" else 13
    return round(minutes * max(1, (saes / 13) ** 2))


def ask_of_a_cluster(asked):
    """Give a rule with a script its group, its run time, and memory that grows; --set-resources has the last word."""
    for group, minutes in CLUSTER.items():
        script = Path(asked.script or "").stem
        if script in minutes:
            # A job that does all SAEs of a study is of none of them.
            asked.group = group if "sae" in asked.wildcard_names else group.replace(".{sae}", "")
            _, stated = asked.ruleinfo.resources or ((), {})
            amounts = {"mem_mb": stated.get("mem_mb"), "runtime": minutes_of(asked, script, minutes[script])}
            said = workflow.resource_settings.overwrite_resources.get(asked.name, {})
            grow = {name: growing(amount) for name, amount in amounts.items() if amount}
            asked.resources.update(
                Resources.from_mapping({name: grow[name] for name in grow.keys() - said.keys()})
            )


# Submissions at a time are given where there is a cluster alone. Its jobs' own snakemakes have what they were given.
if workflow.is_main_process and workflow.nodes is not None:
    for planned in workflow.rules:
        ask_of_a_cluster(planned)
