r"""What each stage of the workflow cost, from the benchmark files of a finished build, for the paper.

    python benchmarks/stages.py results/benchmarks --note "no other work" \
        --output benchmarks/results/stages_cpu.json

A build's own benchmark files cannot be inputs of the paper, which is made in the same build and has to come
out the same every time; so they are read once, by hand, on a machine that is named. Wall time is that of the
jobs, which run beside each other; CPU time is theirs alone and hardly knows of other work on the machine.
"""

import argparse
import csv
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Stage -> the rules (scripts) of it; the order of the table. Rules that no stage names are an error.
STAGES = {
    "weights read": (
        "export_model",
        "export_weights",
        "fetch_lens",
        "read_lens",
        "fetch_weights",
        "find_token_sets",
        "cluster_features",
    ),
    "covariances, axes": ("measure_activation_covariances", "measure_axis_shares"),
    "transport": ("fit_transport", "write_lens"),
    "nulls": ("compute_null_moments", "compute_layer_nulls"),
    "moments": ("compute_moments",),
    "types": ("assign_types", "summarise_types", "compare_dictionaries", "find_counterparts"),
    "token sets": ("test_enrichment", "summarise_enrichment", "null_p_values"),
    "claims, thresholds": ("test_claims", "measure_sensitivity", "measure_ablations", "judge_predictions"),
    "planted types": ("recover_planted_types", "compare_nulls"),
    "effects": ("measure_effects", "effect_summary"),
    "steering": ("measure_steering", "summarise_steering", "measure_confidence"),
    "explanations": ("explain_features", "compare_explanations", "count_explanation_words"),
    "browser": ("compare_directions", "find_contexts", "write_browser"),
    "figures": ("draw_",),
    "paper": ("write_latex_", "write_paper_", "compile_paper_pdf", "bundle_paper_source"),
    "notebooks": ("run_notebook",),
}


def rule_of(path: Path, scripts: set[str]) -> str:
    """The rule that a benchmark file is of: the part of its path that is a script's name."""
    return next(part for part in (path.stem, *path.parts) if part in scripts)


def stage_of(rule: str) -> str:
    """The stage of a rule; of names that end in _ all rules that begin so."""
    for stage, rules in STAGES.items():
        if any(rule == name or (name.endswith("_") and rule.startswith(name)) for name in rules):
            return stage
    raise SystemExit(f"stages.py: rule {rule} is of no stage; add it to STAGES")


def collected(folder: Path, studies: set[str]) -> dict[str, dict[str, float]]:
    """Stage -> jobs, seconds, cpu_seconds, mib, of all benchmark files below the folder."""
    scripts = {path.stem for path in (ROOT / "workflow/scripts").glob("*.py")}
    sums: dict[str, dict[str, float]] = defaultdict(
        lambda: dict.fromkeys(("jobs", "seconds", "cpu_seconds"), 0.0)
    )
    for path in sorted(folder.rglob("*.tsv")):
        part = path.relative_to(folder)
        if len(part.parts) > 1 and part.parts[0] not in (*scripts, "models"):
            studies.add(part.parts[0])
        with path.open() as lines:
            row = next(csv.DictReader(lines, delimiter="\t"))
        one = sums[stage_of(rule_of(part, scripts))]
        one["jobs"] += 1
        one["seconds"] += float(row["s"])
        # Jobs of less than a few seconds have no figures of their process.
        one["cpu_seconds"] += _number(row["cpu_time"])
        one["mib"] = max(one.get("mib", 0.0), _number(row["max_rss"]))
    return {stage: sums[stage] for stage in STAGES if stage in sums}


def _number(text: str) -> float:
    return 0.0 if text in ("-", "NA", "") else float(text)


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_gib": kib / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--note", default="", help="what else the machine did, for the table")
    options = parser.parse_args()
    studies: set[str] = set()
    stages = collected(options.folder, studies)
    text = json.dumps(
        {"machine": machine() | {"note": options.note}, "studies": sorted(studies), "stages": stages},
        indent=1,
    )
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
