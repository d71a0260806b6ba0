"""The explanations stage end to end: a study that Neuronpedia hosts (hub and bucket on the loopback
interface) with the network, from the cache alone and with neither.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from scipy import stats

from fsrl.explanations import words as explanation_words
from fsrl.tables import core as tables
from fsrl.tables.explanations import EXPLANATIONS, FITS, TOKEN_AGREEMENT, WORDS
from fsrl.tables.types import TYPES
from tests.fixtures.hosted_study import MISSING, MODEL, ODD, ODD_TEXT, SAE, SOURCE, TWICE, Hosted
from tests.fixtures.project import Project, planned

JOBS = {"explain_features_ours", "compare_explanations", "count_explanation_words"}


def table(project: Project, name: str, spec: tables.Table):
    return tables.read(project.folder / f"results/ours/explanations/{name}.parquet", spec)


def of_stage(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Which jobs of the stage a dry run plans."""
    return JOBS & planned(done).keys()


def lines_about(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("study ours")]


def test_neuronpedias_explanations_arrive_as_they_are(served: Hosted) -> None:
    frame = table(served.project, SAE, EXPLANATIONS)
    n = len(set(frame["feature"])) + 1
    assert n == 32 and MISSING not in set(frame["feature"])
    assert set(frame["source"]) == {f"{MODEL}/{SOURCE}"} and set(frame["type"]) == {"oai_token-act-pair"}
    twice = frame[frame["feature"] == TWICE]
    assert twice["description"].tolist() == ["digits and words", "another view"]
    assert twice["explanations"].tolist() == [2, 2] and (frame["explanations"] == 1).sum() == n - 2
    odd = frame.loc[frame["feature"] == ODD, "description"].item()
    assert odd == ODD_TEXT.replace("\ud83d", "\ufffd")
    metadata = tables.read_metadata(served.project.folder / f"results/ours/explanations/{SAE}.parquet")
    assert metadata["coverage"] == f"{n - 1} of {n} features" and metadata["exported"].startswith("2026-04")
    assert metadata["study"] == "ours" and len(metadata["sae_revision"]) == 40


def test_words_are_joined_to_types_and_counted(served: Hosted) -> None:
    words = table(served.project, "words", WORDS)
    frame = table(served.project, SAE, EXPLANATIONS)
    types = tables.read(served.project.folder / f"results/ours/{SAE}/trained/types.parquet", TYPES)
    labels = types.loc[types["scheme"] == "calibrated", "type"].to_numpy()
    assert len(set(words["type"])) >= 2
    assert not words["circular"].any() and set(words["sae"]) == {SAE}
    assert {"digits", "brackets", "words"} <= set(words["word"])
    said = {
        feature: frozenset().union(*map(explanation_words.words, group))
        for feature, group in frame.groupby("feature")["description"]
    }
    for row in words.to_dict("records"):
        for side, label in (("type", row["type"]), ("unclassified", "unclassified")):
            group = [feature for feature in said if labels[feature] == label]
            assert row[f"n_{side}"] == len(group)
            assert row[f"k_{side}"] == sum(row["word"] in said[feature] for feature in group)
        a, c = row["yes_type"], row["yes_unclassified"]
        counts = [[a, row["clusters_type"] - a], [c, row["clusters_unclassified"] - c]]
        assert 10 ** row["log10_p"] == pytest.approx(stats.fisher_exact(counts).pvalue, rel=1e-6)
    text = (served.project.folder / "results/ours/explanations/words.tsv").read_text()
    assert len(text.splitlines()) == len(words) + 1


def test_the_processing_that_was_published_is_the_one_that_fits(served: Hosted) -> None:
    fits = table(served.project, "fits", FITS)
    found = fits.loc[fits["fits"], ["sae", "w_u", "centred"]]
    assert list(found.itertuples(index=False, name=None)) == [(SAE, "folded", True)]
    assert set(fits["sampled"]) == set(fits["features"]) == {20}
    agreement = table(served.project, "agreement", TOKEN_AGREEMENT)
    own = agreement[(agreement["w_u"] == "folded") & agreement["centred"]]
    assert len(own) == 20 and (own["top_overlap"] == 10).all() and (own["bottom_overlap"] == 10).all()
    # Five decimals, and the float32 in which W_U is stored.
    assert (own["max_difference"] < 1e-5).all() and (own["unknown"] == 0).all()
    raw = fits[(fits["w_u"] == "raw") & fits["centred"]]
    assert raw["agreeing"].item() < 10 and raw["max_difference"].item() > 0.01


def test_without_network_the_cache_gives_the_same_bytes_and_nobody_is_asked(
    served: Hosted, tmp_path: Path
) -> None:
    before = {name: content for name, content in served.project.outputs().items() if "explanations" in name}
    assert len(before) == 6
    project = served.unexplained(tmp_path)
    asked = len(served.bucket.requests)
    dry = served.run_ours(project, "--dry-run")
    assert of_stage(dry) == JOBS and lines_about(dry) == []
    done = served.run_ours(project, "explanations")
    assert done.returncode == 0, done.stderr
    after = project.outputs()
    assert {name: after[name] for name in before} == before
    assert len(served.bucket.requests) == asked


def test_planning_asks_nobody_and_one_line_says_what_is_left_out(served: Hosted, tmp_path: Path) -> None:
    project, cold = served.unexplained(tmp_path), tmp_path / "cold"
    asked = len(served.bucket.requests)
    dry = served.run_ours(project, "--dry-run", cache=cold, bucket=served.bucket.url)
    assert of_stage(dry) == set() and "summarise_types" in planned(dry)
    [line] = lines_about(dry)
    assert "is built without Neuronpedia's explanations: 1 of 1 sources are not in the cache" in line
    assert f"{MODEL}/{SOURCE}" in line
    assert "`snakemake --cores 1 explanations --config study=ours`" in line
    # Another target doesn't hear of it.
    assert (
        lines_about(served.run_ours(project, "--dry-run", "results/ours/token_sets.parquet", cache=cold))
        == []
    )
    assert len(served.bucket.requests) == asked

    # Explanations alone, as a notebook may have fetched them.
    shutil.copytree(served.cache, tmp_path / "half")
    (tmp_path / "half/fsrl/neuronpedia" / MODEL / SOURCE / "features.json").unlink()
    dry = served.run_ours(project, "--dry-run", cache=tmp_path / "half")
    assert of_stage(dry) == JOBS - {"compare_explanations"}
    [line] = lines_about(dry)
    assert "is built without Neuronpedia's features" in line


def test_who_insists_without_network_is_told_why_it_fails(served: Hosted, tmp_path: Path) -> None:
    project, cold = served.unexplained(tmp_path), tmp_path / "cold"
    done = served.run_ours(project, "explanations", cache=cold)
    assert done.returncode != 0
    errors = {line for line in done.stderr.splitlines() if line.startswith("error:")}
    assert errors and all("cannot be read: no connection can be made" in line for line in errors)
    configured = json.loads((project.folder / "tiny/config.yaml").read_text())

    def plan(**settings: object) -> subprocess.CompletedProcess[str]:
        configured["explanations"] |= settings
        (project.folder / "tiny/config.yaml").write_text(json.dumps(configured))
        return served.run_ours(project, "--dry-run", cache=cold)

    assert of_stage(plan(fetch="require")) == JOBS
    never = plan(fetch="never")
    assert of_stage(never) == set() and lines_about(never) == []
    without = plan(fetch="require", agreement={"features": 0})
    assert of_stage(without) == JOBS - {"compare_explanations"}
    absent = plan(fetch="auto", view="main")
    [line] = lines_about(absent)
    assert of_stage(absent) == set() and "explanations.view is main, which is none of its views" in line


@pytest.mark.slow
def test_without_network_and_cache_the_study_is_built(served: Hosted, tmp_path: Path) -> None:
    project = served.unexplained(tmp_path)
    done = served.run_ours(project, cache=tmp_path / "cold")
    assert done.returncode == 0, done.stderr
    assert len(lines_about(done)) == 1
    assert "figures/ours/trained/types.png" in {name.replace(f"{SAE}/", "") for name in project.outputs()}
    assert not (project.folder / "results/ours/explanations").exists()
