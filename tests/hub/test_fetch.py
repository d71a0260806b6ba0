"""Fetching over real HTTP: what is asked, what a fault does, and that a rerun completes."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fsrl.models import reading
from fsrl.models.sources import ModelSource
from tests.fixtures import architectures
from tests.hub import clients, repositories
from tests.hub.layouts import HubTree
from tests.hub.server import LoopbackHub

Environment = Callable[..., dict[str, str]]
REPO = "jbloom/GPT2-Small-SAEs-Reformatted"
SAE = "blocks.8.hook_resid_pre"
WEIGHTS = f"*{SAE}/sae_weights.safetensors"
FETCH = """
import json, sys
from fsrl.models import hub_files, hub_record
from fsrl.errors import FsrlError
from fsrl.models.sources import ModelSource, SAESource

model, saes = json.loads(sys.argv[1])
files = (ModelSource(**model).hub_files() if model else []) + SAESource.from_settings(saes).hub_files()
try:
    hub_files.fetch(files)
except FsrlError as error:
    sys.exit(f"error: {error}")
hub_record.write(files, "record.tsv")
"""
ONE = {"release": "gpt2-small-res-jb", "ids": [SAE]}


def fetch(
    environment: dict[str, str], folder: Path, saes: dict = ONE, model: dict | None = None
) -> subprocess.CompletedProcess[str]:
    """Exit status and standard error of a process that fetches; 30 s is far more than any case takes."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", FETCH, json.dumps([model, saes])]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=30)


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def blobs(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file() and "snapshots" in path.parts]


def test_a_study_is_fetched_once_and_then_never_asked_for(
    hub: LoopbackHub, hub_environment: Environment, tmp_path: Path
) -> None:
    environment = hub_environment()
    study = ({"release": "gpt2-small-res-jb"}, {"hub": "gpt2"})
    done = fetch(environment, tmp_path, *study)
    assert done.returncode == 0, done.stderr
    assert "fetching 43 files, 0.00 GB" in done.stderr
    record = (tmp_path / "record.tsv").read_text().splitlines()
    assert len(record) == 1 + 13 * 3 + 4
    assert not any(str(tmp_path) in line for line in record)
    hub.requests.clear()
    assert fetch(environment, tmp_path, *study).returncode == 0
    assert hub.requests == []
    hub.close()
    assert fetch(environment, tmp_path, *study).returncode == 0


def test_the_record_names_commit_and_hash(
    hub_tree: HubTree, hub_environment: Environment, tmp_path: Path
) -> None:
    import hashlib

    assert fetch(hub_environment(), tmp_path).returncode == 0
    commit = (hub_tree.folder / REPO / "refs/main").read_text().strip()
    stored = hub_tree.folder / REPO / "commits" / commit / SAE / "sae_weights.safetensors"
    digest = hashlib.sha256(stored.read_bytes()).hexdigest()
    line = f"{REPO}\t{SAE}/sae_weights.safetensors\t{commit}\t{digest}\t{stored.stat().st_size}"
    assert line in (tmp_path / "record.tsv").read_text().splitlines()


def test_without_a_hub_it_ends_with_what_to_do(
    hub: LoopbackHub, hub_environment: Environment, tmp_path: Path
) -> None:
    hub.close()
    line = error_of(fetch(hub_environment(), tmp_path))
    assert f"{REPO} cannot be fetched from {hub.url} (ConnectError)" in line
    assert "HF_ENDPOINT" in line and "HF_HOME" in line


def test_offline_it_asks_nobody(hub: LoopbackHub, hub_environment: Environment, tmp_path: Path) -> None:
    line = error_of(fetch(hub_environment(HF_HUB_OFFLINE="1"), tmp_path))
    assert "HF_HUB_OFFLINE is set" in line
    assert hub.requests == []


@pytest.mark.parametrize("pattern", ["/api/models/*", WEIGHTS], ids=["at once", "in the middle"])
def test_a_hub_that_never_answers_is_given_up(
    hub: LoopbackHub, hub_environment: Environment, tmp_path: Path, pattern: str
) -> None:
    environment = hub_environment()
    hub.stall(pattern)
    assert "cannot be fetched" in error_of(fetch(environment, tmp_path))
    hub.heal()
    assert fetch(environment, tmp_path).returncode == 0


@pytest.mark.parametrize("pattern", ["/api/models/*", f"/{REPO}/resolve*", "/cdn/*"])
def test_three_faults_of_the_server_are_survived(
    hub: LoopbackHub, hub_environment: Environment, tmp_path: Path, pattern: str
) -> None:
    hub.fail(pattern, times=3)
    done = fetch(hub_environment(), tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_server_that_stays_at_fault_is_named(
    hub: LoopbackHub, hub_environment: Environment, tmp_path: Path
) -> None:
    hub.fail("/cdn/*", times=None, status=503)
    assert f"{hub.url} answered 503 for {REPO}" in error_of(fetch(hub_environment(), tmp_path))


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_file_cut_in_the_middle_is_fetched_whole(
    hub: LoopbackHub, hub_environment: Environment, tmp_path: Path, reset: bool
) -> None:
    hub.cut(f"/cdn/{WEIGHTS}", after=1000, times=2, reset=reset)
    done = fetch(hub_environment(), tmp_path)
    assert done.returncode == 0, done.stderr


def test_wrong_bytes_are_refused_and_removed_and_a_rerun_completes(
    hub: LoopbackHub, hub_environment: Environment, tmp_path: Path
) -> None:
    environment = hub_environment()
    hub.corrupt(f"/cdn/{WEIGHTS}")
    line = error_of(fetch(environment, tmp_path))
    assert f"{REPO}/{SAE}/sae_weights.safetensors" in line and "does not have the hash" in line
    assert not [path for path in blobs(tmp_path / "hf") if path.name == "sae_weights.safetensors"]
    hub.heal()
    assert fetch(environment, tmp_path).returncode == 0


def test_a_cache_filled_in_part_is_completed_or_refused_but_never_taken_for_whole(
    hub: LoopbackHub, hub_environment: Environment, tmp_path: Path
) -> None:
    environment = hub_environment()
    assert fetch(environment, tmp_path).returncode == 0
    [sparsity] = [path for path in blobs(tmp_path / "hf") if path.name == "sparsity.safetensors"]
    sparsity.unlink()
    hub.close()
    assert "cannot be fetched" in error_of(fetch(environment, tmp_path))
    assert "sparsity.safetensors" in error_of(fetch(environment | {"HF_HUB_OFFLINE": "1"}, tmp_path))
    hub.open()
    assert fetch(environment, tmp_path).returncode == 0
    assert sparsity.is_file()


def test_that_a_release_ships_no_densities_is_remembered(
    hub: LoopbackHub, hub_environment: Environment, tmp_path: Path
) -> None:
    environment = hub_environment()
    lacking = {"release": "gpt2-small-attn-out-v5-128k"}
    assert fetch(environment, tmp_path, lacking).returncode == 0
    hub.close()
    assert fetch(environment, tmp_path, lacking).returncode == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"revision": "v9"}, f"{REPO} has no revision 'v9'"),
        ({"release": "nobody/nothing"}, "has no repository nobody/nothing"),
        ({"release": REPO, "ids": ["blocks.99.hook_resid_pre"]}, "the repository has no such file"),
    ],
    ids=["revision", "repository", "file"],
)
def test_what_the_hub_has_not_got_is_named(
    hub_environment: Environment, tmp_path: Path, changes: dict, message: str
) -> None:
    assert message in error_of(fetch(hub_environment(), tmp_path, ONE | changes))


def test_no_token_is_printed_or_stored(hub_environment: Environment, tmp_path: Path) -> None:
    token = "hf_" + "secret" * 6
    environment = hub_environment(HF_TOKEN=token)
    environment.pop("HF_HUB_DISABLE_IMPLICIT_TOKEN")
    done = fetch(environment, tmp_path)
    failed = fetch(environment, tmp_path, {"release": "nobody/nothing", "ids": ["x"]})
    assert token not in done.stderr + done.stdout + failed.stderr + failed.stdout
    assert token not in (tmp_path / "record.tsv").read_text()


def test_a_password_in_the_hubs_address_reaches_neither_screen_nor_log(
    hub: LoopbackHub, hub_environment: Environment, tmp_path: Path
) -> None:
    code = "from fsrl import joblog\njoblog.to('job.log')\n" + FETCH
    environment = hub_environment(HF_ENDPOINT=hub.url.replace("http://", "http://someone:letmein@"))
    said = []
    for fault in (lambda: hub.fail("*", times=None, status=404), hub.close, hub.open):
        fault()
        command = [sys.executable, "-c", code, json.dumps([None, ONE])]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        said += [done.stdout, done.stderr, (tmp_path / "job.log").read_text()]
    assert done.returncode == 0
    assert "letmein" not in "".join(said) and hub.url in "".join(said)


def test_clients_see_the_library_of_this_checkout(hub_environment: Environment, tmp_path: Path) -> None:
    found = clients.run("import fsrl; print(fsrl.__file__)", hub_environment(), tmp_path)
    assert Path(found.strip()).parents[2] == clients.ROOT


MODEL = """
import sys
from fsrl.errors import FsrlError
from fsrl.models import hub_record, sources

try:
    files = sources.fetch(sources.ModelSource(hub=sys.argv[1]))
except FsrlError as error:
    sys.exit(f"error: {error}")
hub_record.write(files, "record.tsv")
"""


def fetch_model(environment: dict[str, str], folder: Path, repo: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MODEL, repo]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=30)


def test_a_model_in_shards_is_fetched_in_rounds_and_read(
    hub: LoopbackHub, hub_tree: HubTree, hub_environment: Environment, tmp_path: Path
) -> None:
    model = architectures.write("llama", tmp_path / "whole")
    place = repositories.new_commit(hub_tree.folder, "ours/sharded", "main")
    shutil.copytree(tmp_path / "whole", place, dirs_exist_ok=True)
    (place / "model.safetensors").unlink()
    model.save_pretrained(place, max_shard_size="20KB")
    shards = sorted(path.name for path in place.glob("model-*.safetensors"))
    environment = hub_environment()
    done = fetch_model(environment, tmp_path, "ours/sharded")
    assert done.returncode == 0, done.stderr
    recorded = [line.split("\t")[1] for line in (tmp_path / "record.tsv").read_text().splitlines()[1:]]
    assert len(shards) > 1 and {"model.safetensors.index.json", *shards} < set(recorded)
    assert "model.safetensors" not in recorded
    hub.requests.clear()
    assert fetch_model(environment, tmp_path, "ours/sharded").returncode == 0
    assert hub.requests == []
    [cached] = tmp_path.glob("hf/hub/models--ours--sharded/snapshots/*")
    found, whole = (reading.read_model(ModelSource(folder=str(at))) for at in (cached, tmp_path / "whole"))
    assert (
        found.metadata["model_weights"]
        == f"every parameter read from {shards[0]} to {shards[-1]} ({len(shards)} files)"
    )
    assert torch.equal(found.W_U, whole.W_U)


def test_a_repository_without_safetensors_is_refused_with_what_to_do(
    hub: LoopbackHub, hub_tree: HubTree, hub_environment: Environment, tmp_path: Path
) -> None:
    place = repositories.new_commit(hub_tree.folder, "ours/pickled", "main")
    for name in ("config.json", "tokenizer.json", "pytorch_model.bin"):
        (place / name).write_text("{}")
    line = error_of(fetch_model(hub_environment(), tmp_path, "ours/pickled"))
    assert "ours/pickled has neither model.safetensors nor model.safetensors.index.json" in line
    assert "save_pretrained(folder)" in line
