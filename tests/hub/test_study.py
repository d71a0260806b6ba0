"""A study from the hub through the workflow: fetched, built, rebuilt without the hub, refused, skipped."""

import shutil
from pathlib import Path

import pytest

from fsrl.tables import core as tables
from tests.fixtures.hosted_study import BESIDE, SAE, Hosted, configure
from tests.fixtures.project import Project, planned
from tests.hub.server import LoopbackHub

# Shared with the studies of the catalogue.
MODEL = "results/models/gpt2"


@pytest.fixture
def elsewhere(hub: LoopbackHub, fresh: Project, here: Path, tmp_path: Path) -> Hosted:
    """The study with nothing built, an open hub, and caches that are empty."""
    project = fresh.copy(tmp_path / "project")
    configure(project)
    return Hosted(project, hub, here)


def test_a_study_is_fetched_built_and_rebuilt_without_the_hub(served: Hosted, tmp_path: Path) -> None:
    before = served.project.outputs()
    assert {"results/ours/hub_files.tsv", f"{MODEL}/hub_files.tsv", *BESIDE} <= set(before)
    types, decoder = f"results/ours/{SAE}/trained/types.parquet", f"results/ours/{SAE}/decoder.safetensors"
    metadata = tables.read_metadata(served.project.folder / types)
    assert len(metadata["model_revision"]) == len(metadata["sae_revision"]) == 40
    assert len(metadata["model_sha256"]) == len(metadata["sae_sha256"]) == 64

    project = served.project.copy(tmp_path / "project")
    assert planned(served.run_ours(project, "--dry-run", "explanations", *BESIDE)) == {}
    for folder in ("results/ours", MODEL):
        shutil.rmtree(project.folder / folder)
    done = served.run_ours(project, decoder)
    assert done.returncode == 0, done.stderr
    rebuilt = {
        name: content
        for name, content in project.outputs().items()
        if name.startswith(("results/ours", MODEL))
    }
    assert decoder in rebuilt and rebuilt == {name: before[name] for name in rebuilt}


def test_without_hub_and_cache_one_line_says_what_to_do_and_nothing_is_left(elsewhere: Hosted) -> None:
    elsewhere.hub.close()
    done = elsewhere.run_ours(elsewhere.project)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert lines == [line for line in lines if "cannot be fetched" in line] and len(lines) == 1
    assert not [path for path in elsewhere.project.outputs() if "ours" in path]


def test_a_listed_study_is_skipped_until_it_is_downloaded(elsewhere: Hosted) -> None:
    project = elsewhere.project
    skipped = "study ours is skipped: its weights are not on this machine; get them with `snakemake --cores 1"
    dry = elsewhere.run(project, "--dry-run", "--quiet")
    assert dry.returncode == 0 and dry.stderr.count(skipped) == 1
    dry = elsewhere.run(project, "--dry-run")
    assert dry.stderr.count(skipped) == 1 and "export_weights_ours" not in planned(dry)
    assert elsewhere.hub.requests == []

    done = elsewhere.run_ours(project, "download")
    assert done.returncode == 0, done.stderr
    assert "fetching 4 files" in done.stderr and "fetching 3 files" in done.stderr
    assert set(project.outputs()) == {"results/ours/hub_files.tsv", f"{MODEL}/hub_files.tsv"}
    dry = elsewhere.run(project, "--dry-run")
    assert skipped not in dry.stderr and planned(dry)["export_weights_ours"] == 1


def test_a_lost_cache_is_no_dead_end(elsewhere: Hosted) -> None:
    project, cache = elsewhere.project, elsewhere.folder / "hf"
    decoder, record = f"results/ours/{SAE}/decoder.safetensors", project.folder / "results/ours/hub_files.tsv"
    assert elsewhere.run_ours(project, "download").returncode == 0
    before = record.read_bytes()
    again = elsewhere.run_ours(project, "--dry-run", "download")
    assert "Nothing to be done" in again.stdout + again.stderr

    shutil.rmtree(cache)
    again = elsewhere.run_ours(project, "--dry-run", "download")
    assert planned(again)["download"] == 1
    said = [line for line in again.stderr.splitlines() if line.startswith("study ours:")]
    assert len(said) == 1 and "not in the Hugging Face cache" in said[0]
    assert not cache.exists()
    done = elsewhere.run_ours(project, "download")
    assert done.returncode == 0, done.stderr
    assert record.read_bytes() == before
    again = elsewhere.run_ours(project, "--dry-run", "download")
    assert "Nothing to be done" in again.stdout + again.stderr and "study ours:" not in again.stderr

    # Broken without a change of size: only a hash tells, and the remedy that is named works.
    [weights] = cache.rglob("sae_weights.safetensors")
    content = weights.read_bytes()
    weights.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = elsewhere.run_ours(project, decoder)
    assert done.returncode != 0 and "delete the file and fetch it again" in done.stderr
    weights.resolve().unlink()
    done = elsewhere.run_ours(project, decoder)
    assert done.returncode == 0, done.stderr

    # What stands needs no cache.
    shutil.rmtree(cache)
    elsewhere.hub.close()
    again = elsewhere.run_ours(project, "--dry-run", decoder)
    assert "Nothing to be done" in again.stdout + again.stderr
    (project.folder / decoder).unlink()
    done = elsewhere.run_ours(project, decoder)
    assert done.returncode != 0 and "cannot be fetched" in done.stderr and record.read_bytes() == before
