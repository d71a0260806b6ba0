"""The embedded study itself: what ships, what is claimed of it, and the whole build from a clean copy."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib import image

from fsrl.names import BOUNDING, TYPES
from tests.fixtures.project import planned

ROOT = Path(__file__).parents[2]
MINI = ROOT / "data/mini"
HOOKS = [f"blocks.{n}.hook_resid_pre" for n in range(6)] + ["blocks.5.hook_resid_post"]
FURTHER = ["blocks.5.hook_resid_pre_seed_1", "blocks.5.hook_resid_pre_twice_as_wide"]


@pytest.fixture(scope="module")
def record():
    return json.loads((MINI / "record.json").read_text())


def test_the_study_fits_its_budget():
    sizes = {path: path.stat().st_size for path in MINI.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 32 * 2**20
    assert sizes[MINI / "evaluation_text.txt"] <= 500_000


def test_what_the_issue_of_the_model_asked_for_is_reached(record):
    assert record["model"]["below_trigram"] >= 0.45
    for hook in HOOKS:
        sae = record["saes"][hook]
        assert sae["explained_variance"] >= 0.80, hook
        assert 25 <= sae["l0"] <= 45, hook
        assert sae["ce_recovered"] >= 0.90, hook
        assert sae["dead_share"] <= 0.05, hook
        assert sae["d_sae"] >= 8 * 160


def test_further_saes_are_no_worse_than_the_one_that_they_stand_beside(record):
    own = record["saes"]["blocks.5.hook_resid_pre"]
    assert set(record["further_saes"]) == set(FURTHER)
    for name in FURTHER:
        sae = record["further_saes"][name]
        assert sae["explained_variance"] >= own["explained_variance"] - 0.01, name
        assert sae["ce_recovered"] >= own["ce_recovered"] - 0.01, name
        assert 25 <= sae["l0"] <= 45, name


@pytest.mark.slow
def test_the_shipped_weights_reach_what_the_record_says_on_the_shipped_text(record):
    from fsrl.mini import evaluation as mini_evaluation
    from fsrl.mini import export as mini_export
    from fsrl.mini import tokens as mini_tokens
    from fsrl.mini.model import evaluate

    model = mini_export.read_model(MINI / "model")
    stream = mini_tokens.encode_text((MINI / "evaluation_text.txt").read_text(), MINI / "model")
    claimed = record["evaluation_text"]
    assert len(stream) == claimed["tokens"]
    assert evaluate(model, stream) == pytest.approx(claimed["nats_per_token"], abs=1e-3)
    hooks_of = {f"saes/{hook}": hook for hook in HOOKS}
    hooks_of |= {f"further_saes/{name}": "blocks.5.hook_resid_pre" for name in FURTHER}
    saes = {sae: (hook, mini_export.read_sae(MINI / sae)) for sae, hook in hooks_of.items()}
    for sae, found in mini_evaluation.reconstructions(model, saes, stream).items():
        folder, name = sae.split("/")
        assert found == pytest.approx(claimed[folder][name], rel=1e-3), sae


def test_its_readme_quotes_the_record(record):
    text = (MINI / "README.md").read_text()
    model = record["model"]
    for number in ("nats_per_token", "trigram_nats_per_token", "below_trigram"):
        assert f"{model[number]:.3f}" in text
    for name, sae in (record["saes"] | record["further_saes"]).items():
        row = (
            f"| {name} | {sae['explained_variance']:.3f} | {sae['l0']:.1f} | {sae['ce_recovered']:.3f} "
            f"| {100 * sae['dead_share']:.1f} % |"
        )
        assert row in text


@pytest.fixture(scope="module")
def built(built_mini):
    return built_mini


def chance_of_one_kind(folder: Path, kind: str) -> float:
    """Features of any type that fresh directions of one kind give by the layer's bounds."""
    rows = pq.read_table(folder / "type_null_counts.parquet").to_pylist()
    asked = [row for row in rows if (row["scheme"], row["kind"]) == ("calibrated", kind)]
    return sum(row["expected_at_bounds"] for row in asked if row["type"] in TYPES)


@pytest.mark.slow
def test_the_documentation_shows_the_table_that_the_workflow_writes(built):
    with (built / "results/mini/summary/trained.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["sae"] for row in rows] == HOOKS
    page = (ROOT / "docs/explanation/findings.md").read_text()
    for row in rows:
        columns = ("kurtosis_above", "kurtosis_above_every_null")
        shares = [f"{100 * float(row[column]):.1f} %" for column in columns]
        kinds = ("local_context", "prediction", "two_sided", "suppression", "partition")
        found = [(int(row[kind]), float(row[f"{kind}_expected"])) for kind in kinds]
        given = [chance_of_one_kind(built / "results/mini" / row["sae"] / "trained", of) for of in BOUNDING]
        found.append((sum(count for count, _ in found), max(given)))
        counts = [f"{count} ({chance:.1f})" for count, chance in found]
        assert " | ".join([f"| {row['sae']}", *shares, *counts]) + " |" in page


@pytest.mark.slow
def test_what_the_documentation_says_of_another_training_run_is_in_the_table(built):
    page = (ROOT / "docs/explanation/findings.md").read_text()
    section = " ".join(page.split("## Another training run")[1].split("\n## ")[0].split())
    with (built / "results/models/mini-model/counterparts.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    own = [row for row in rows if row["study"] == "mini"]
    for name in FURTHER:
        of = {row["type"]: row for row in own if row["other_sae"] == name}
        typed, untyped = of["typed"], of["untyped"]
        assert f"the {int(typed['features'])} typed features" in section
        assert f"{int(untyped['features']):,}" in section
        alike = f"{typed['alike']} of the {typed['counterparts']}"
        assert f"{alike} " in section and f"({float(typed['alike_by_chance']):.1f}" in section
        assert f" {untyped['counterparts']} " in section or f" {untyped['counterparts']}." in section
    sizes = {
        row["sae"]: row["features"] for row in rows if row["study"] == "mini-runs" and row["type"] == "typed"
    }
    assert f"the other seed has {sizes[FURTHER[0]]} and the wide one {sizes[FURTHER[1]]}" in section


@pytest.mark.slow
def test_the_figures_of_the_documentation_are_those_that_the_workflow_builds(built):
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    texts = [page.read_text() for page in pages]
    shown = {name for text in texts for name in re.findall(r"\]\((?:\.\./)*(figures/[^)]+\.png)\)", text)}
    kept = subprocess.check_output(["git", "ls-files", "figures"], cwd=ROOT, text=True).split()
    assert sorted(shown) == kept
    for figure in shown:
        # Pixels, not bytes: another processor rounds the last bit of a moment differently.
        fresh, kept = (image.imread(folder / figure) for folder in (built, ROOT))
        assert fresh.shape == kept.shape, figure
        assert np.abs(fresh - kept).mean() < 1e-3, figure


@pytest.mark.slow
def test_training_is_in_nobody_s_plan(built):
    """An edit to the training code leaves the built study up to date."""
    with (built / "src/fsrl/mini/model.py").open("a") as file:
        file.write("\n# edited\n")
    command = [sys.executable, "-m", "snakemake", "--cores", "8", "--dry-run"]
    plan = subprocess.run(command, cwd=built, check=True, capture_output=True, text=True)
    assert "Nothing to be done" in plan.stdout + plan.stderr
    assert "train mini" not in plan.stderr
    train = subprocess.run([*command, "train_mini"], cwd=built, check=True, capture_output=True, text=True)
    assert planned(train)["train_mini_model"] == 1


@pytest.mark.slow
def test_explanations_of_all_studies_can_be_asked_for_at_once(built):
    """One of them leaves them out, and has not what they are made from."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "explanations"]
    plan = subprocess.run(command, cwd=built, capture_output=True, text=True)
    assert plan.returncode == 0, plan.stdout + plan.stderr
