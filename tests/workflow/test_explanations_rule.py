"""The explanations stage end to end: a study that Neuronpedia hosts (hub and bucket on the loopback
interface) with the network, from the cache alone and with neither; and one that it does not host.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fsrl.explanations import local as explanations
from fsrl.explanations import words as explanation_words
from fsrl.tables import core as tables
from fsrl.tables.enrichment import BEST_SETS
from fsrl.tables.explanations import AGREEMENT, EXPLANATIONS, FITS, WORDS
from fsrl.tables.types import TYPES
from tests.fixtures.tiny_study import SAE_IDS
from tests.hub import clients
from tests.hub.conftest import _serving_hub, hub_tree
from tests.hub.layouts import HubTree
from tests.hub.server import LoopbackHub
from tests.neuronpedia import rows
from tests.neuronpedia.servers import Bucket
from tests.workflow.conftest import Project

__all__ = ["_serving_hub", "hub_tree"]  # fixtures

SAE, MODEL, SOURCE = "blocks.11.hook_resid_post", "gpt2-small", "12-res-jb"
RELEASE = "gpt2-small-res-jb"
NOBODY = "http://127.0.0.1:9"
MISSING, TWICE, ODD = 5, 3, 7
ODD_TEXT = "<script>alert(1)</script> \U0001f600 tab\tand \ud83d half; digits"
JOBS = {"neuronpedia", "agreement", "words"}
STUDY = {
    "model": {"hub": "gpt2"},
    "saes": {"release": RELEASE, "ids": [SAE]},
    "views": ["trained", "cosine"],
    "figure_views": ["trained"],
    "evaluation_text": "tiny/evaluation_text.txt",
}


@dataclass(frozen=True)
class Built:
    """A project in which `snakemake explanations` has run, its cache in `cache`, and the bucket it asked."""

    project: Project
    cache: Path
    bucket: Bucket
    endpoint: str
    hub_cache: Path

    def run(
        self, project: Project, *arguments: str, cache: Path | None = None, bucket: str = NOBODY
    ) -> subprocess.CompletedProcess[str]:
        more = {"NEURONPEDIA_BUCKET_URL": bucket, "XDG_CACHE_HOME": str(cache or self.cache)}
        found = clients.environment(self.endpoint, self.hub_cache, **more)
        found = {
            name: value for name, value in found.items() if name not in ("PYTHONPATH", "NEURONPEDIA_API_KEY")
        }
        command = project.command(*arguments, "--config", "study=ours")
        return subprocess.run(
            command, cwd=project.folder, env=found, capture_output=True, text=True, timeout=300
        )

    def unexplained(self, folder: Path) -> Project:
        """A copy of the project without the stage's results."""
        copy = self.project.copy(folder / "project")
        shutil.rmtree(copy.folder / "results/ours/explanations")
        return copy


def weights_of(hub: HubTree) -> np.ndarray:
    """Logit weights [features, tokens] of the SAE with W_U folded and centred, from the hub's own tensors."""
    gain, embedding = hub.model["ln_f.weight"].double(), hub.model["wte.weight"].double()
    folded = (embedding * gain).T[:, : len(hub.tokens)]
    folded = folded - folded.mean(dim=0)
    logits = hub.saes[RELEASE, SAE].loaded.double() @ folded
    return (logits - logits.mean(dim=1, keepdim=True)).numpy()


def fill(bucket: Bucket, hub: HubTree) -> None:
    """Explanations of most features, and rows of features as W_U folded gives them, in two batches each."""
    explained, published = [], []
    for feature, logits in enumerate(weights_of(hub)):
        heights, edges = np.histogram(logits, bins=50)
        order = np.argsort(logits)
        high, low = order[::-1][:10], order[:10]
        written = {
            "layer": SOURCE,
            "pos_str": [hub.tokens[index].replace("\u0120", " ") for index in high],
            "pos_values": np.round(logits[high], 5).tolist(),
            "neg_str": [hub.tokens[index].replace("\u0120", " ") for index in low],
            "neg_values": np.round(logits[low], 5).tolist(),
            "logits_hist_data_bar_heights": heights.tolist(),
            "logits_hist_data_bar_values": np.round((edges[1:] + edges[:-1]) / 2, 5).tolist(),
        }
        published.append(rows.feature(feature, **written))
        text = ODD_TEXT if feature == ODD else f"{'digits' if feature % 2 else 'brackets'} and words"
        if feature != MISSING:
            explained.append(rows.explanation(feature, text, layer=SOURCE))
    explained.append(rows.explanation(TWICE, "another view", layer=SOURCE, row_id="second"))
    for kind, lines in (("explanations", explained), ("features", published)):
        for number, batch in enumerate(rows.batches(lines, size=20)):
            bucket.put(MODEL, SOURCE, f"{kind}/batch-{number}.jsonl.gz", batch)


@pytest.fixture(scope="module")
def bucket(hub_tree: HubTree) -> Iterator[Bucket]:
    server = Bucket()
    fill(server, hub_tree)
    with closing(server):
        yield server


@pytest.fixture(scope="module")
def explained(
    fresh: Project,
    _serving_hub: LoopbackHub,
    bucket: Bucket,
    tmp_path_factory: pytest.TempPathFactory,
) -> Built:
    """Everything that the stage needs built, and the stage, by the target that insists."""
    folder = tmp_path_factory.mktemp("explained")
    project = fresh.copy(folder / "project")
    config = json.loads((project.folder / "tiny/config.yaml").read_text())
    config["studies"]["ours"] = STUDY
    config["tokens"]["draws"] = 2000
    # Bounds that some of 32 random features meet, and some do not.
    bounds = {
        "prediction": {"skewness": {"above": "null0.7"}},
        "suppression": {"skewness": {"below": "null0.3"}},
    }
    config["types"] = {"schemes": {"calibrated": {"types": bounds}}}
    config["nulls"] |= {"kinds": ["isotropic"]}
    config["explanations"] = {"words": {"min_features": 2}, "agreement": {"features": 20}}
    (project.folder / "tiny/config.yaml").write_text(json.dumps(config))
    built = Built(project, folder / "cache", bucket, _serving_hub.url, folder / "hf")
    done = built.run(project, "explanations", bucket=bucket.url)
    assert done.returncode == 0, done.stderr
    assert "is built without" not in done.stderr
    return built


def table(project: Project, name: str, spec: tables.Table):
    return tables.read(project.folder / f"results/ours/explanations/{name}.parquet", spec)


def planned(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Which jobs of the stage a dry run plans."""
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    return {name for name in (*JOBS, "local") if f"rule explanations_{name}_ours" in text}


def lines_about(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("study ours")]


def test_neuronpedias_explanations_arrive_as_they_are(explained: Built) -> None:
    frame = table(explained.project, SAE, EXPLANATIONS)
    n = len(set(frame["feature"])) + 1
    assert n == 32 and MISSING not in set(frame["feature"])
    assert set(frame["source"]) == {f"{MODEL}/{SOURCE}"} and set(frame["type"]) == {"oai_token-act-pair"}
    twice = frame[frame["feature"] == TWICE]
    assert twice["description"].tolist() == ["digits and words", "another view"]
    assert twice["explanations"].tolist() == [2, 2] and (frame["explanations"] == 1).sum() == n - 2
    odd = frame.loc[frame["feature"] == ODD, "description"].item()
    assert odd == ODD_TEXT.replace("\ud83d", "\ufffd")
    metadata = tables.read_metadata(explained.project.folder / f"results/ours/explanations/{SAE}.parquet")
    assert metadata["coverage"] == f"{n - 1} of {n} features" and metadata["exported"].startswith("2026-04")
    assert metadata["study"] == "ours" and len(metadata["sae_revision"]) == 40


def test_words_are_joined_to_types_and_counted(explained: Built) -> None:
    words = table(explained.project, "words", WORDS)
    frame = table(explained.project, SAE, EXPLANATIONS)
    types = tables.read(explained.project.folder / f"results/ours/{SAE}/trained/types.parquet", TYPES)
    labels = types.loc[types["scheme"] == "calibrated", "type"].to_numpy()
    assert {"prediction", "suppression"} <= set(words["type"])
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
    text = (explained.project.folder / "results/ours/explanations/words.tsv").read_text()
    assert len(text.splitlines()) == len(words) + 1


def test_the_processing_that_was_published_is_the_one_that_fits(explained: Built) -> None:
    fits = table(explained.project, "fits", FITS)
    found = fits.loc[fits["fits"], ["sae", "w_u", "centred"]]
    assert list(found.itertuples(index=False, name=None)) == [(SAE, "folded", True)]
    assert set(fits["sampled"]) == set(fits["features"]) == {20}
    agreement = table(explained.project, "agreement", AGREEMENT)
    own = agreement[(agreement["w_u"] == "folded") & agreement["centred"]]
    assert len(own) == 20 and (own["top_overlap"] == 10).all() and (own["bottom_overlap"] == 10).all()
    # Five decimals, and the float32 in which W_U is stored.
    assert (own["max_difference"] < 1e-5).all() and (own["unknown"] == 0).all()
    raw = fits[(fits["w_u"] == "raw") & fits["centred"]]
    assert raw["agreeing"].item() < 10 and raw["max_difference"].item() > 0.01


def test_without_network_the_cache_gives_the_same_bytes_and_nobody_is_asked(
    explained: Built, tmp_path: Path
) -> None:
    before = {
        name: content for name, content in explained.project.outputs().items() if "explanations" in name
    }
    assert len(before) == 6
    project = explained.unexplained(tmp_path)
    asked = len(explained.bucket.requests)
    dry = explained.run(project, "--dry-run")
    assert planned(dry) == JOBS and lines_about(dry) == []
    done = explained.run(project, "explanations")
    assert done.returncode == 0, done.stderr
    after = project.outputs()
    assert {name: after[name] for name in before} == before
    assert len(explained.bucket.requests) == asked


def test_planning_asks_nobody_and_one_line_says_what_is_left_out(explained: Built, tmp_path: Path) -> None:
    project, cold = explained.unexplained(tmp_path), tmp_path / "cold"
    asked = len(explained.bucket.requests)
    dry = explained.run(project, "--dry-run", cache=cold, bucket=explained.bucket.url)
    assert planned(dry) == set() and "rule summary" in dry.stdout + dry.stderr
    [line] = lines_about(dry)
    assert "is built without Neuronpedia's explanations: 1 of 1 sources are not in the cache" in line
    assert f"{MODEL}/{SOURCE}" in line
    assert "`snakemake --cores 1 explanations --config study=ours`" in line
    # Another target doesn't hear of it.
    assert lines_about(explained.run(project, "--dry-run", "results/ours/tokens.parquet", cache=cold)) == []
    assert len(explained.bucket.requests) == asked

    # Explanations alone, as a notebook may have fetched them.
    shutil.copytree(explained.cache, tmp_path / "half")
    (tmp_path / "half/fsrl/neuronpedia" / MODEL / SOURCE / "features.json").unlink()
    dry = explained.run(project, "--dry-run", cache=tmp_path / "half")
    assert planned(dry) == JOBS - {"agreement"}
    [line] = lines_about(dry)
    assert "is built without Neuronpedia's features" in line


def test_who_insists_without_network_is_told_why_it_fails(explained: Built, tmp_path: Path) -> None:
    project, cold = explained.unexplained(tmp_path), tmp_path / "cold"
    done = explained.run(project, "explanations", cache=cold)
    assert done.returncode != 0
    errors = {line for line in done.stderr.splitlines() if line.startswith("error:")}
    assert errors and all("cannot be read: no connection can be made" in line for line in errors)
    configured = json.loads((project.folder / "tiny/config.yaml").read_text())

    def plan(**settings: object) -> subprocess.CompletedProcess[str]:
        configured["explanations"] |= settings
        (project.folder / "tiny/config.yaml").write_text(json.dumps(configured))
        return explained.run(project, "--dry-run", cache=cold)

    assert planned(plan(fetch="require")) == JOBS
    never = plan(fetch="never")
    assert planned(never) == set() and lines_about(never) == []
    without = plan(fetch="require", agreement={"features": 0})
    assert planned(without) == JOBS - {"agreement"}
    absent = plan(fetch="auto", view="main")
    [line] = lines_about(absent)
    assert planned(absent) == set() and "explanations.view is main, which is none of its views" in line


@pytest.mark.slow
def test_without_network_and_cache_the_study_is_built(explained: Built, tmp_path: Path) -> None:
    project = explained.unexplained(tmp_path)
    done = explained.run(project, cache=tmp_path / "cold")
    assert done.returncode == 0, done.stderr
    assert len(lines_about(done)) == 1
    assert "figures/ours/trained/types.png" in {name.replace(f"{SAE}/", "") for name in project.outputs()}
    assert not (project.folder / "results/ours/explanations").exists()


def test_a_study_that_is_not_hosted_explains_itself_and_says_so(built: Project) -> None:
    folder = built.folder / "results/tiny"
    for sae in SAE_IDS:
        frame = tables.read(folder / f"explanations/{sae}.parquet", EXPLANATIONS)
        best = tables.read(folder / sae / "trained/best_sets.parquet", BEST_SETS)
        assert frame["feature"].tolist() == best["feature"].tolist()
        assert set(frame["model"]) == {explanations.LOCAL_MODEL} and set(frame["source"]) == {"local"}
        significant = (best["n_promoted"] > 0).to_numpy()
        promoted = frame["description"].str.contains("promotes tokens of: ").to_numpy()
        assert promoted.tolist() == significant.tolist()
        neither = ~significant & (best["n_suppressed"] == 0).to_numpy()
        assert frame["description"].str.startswith(explanations.NOTHING).tolist() == neither.tolist()
        metadata = tables.read_metadata(folder / f"explanations/{sae}.parquet")
        assert "circular" in metadata["explanations"] and metadata["study"] == "tiny"
    words = tables.read(folder / "explanations/words.parquet", WORDS)
    assert words["circular"].all()
    assert not (folder / "explanations/agreement.parquet").exists()
