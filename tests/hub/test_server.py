"""The loopback hub is a hub: real clients get from it, over HTTP, what was written, and meet its failures."""

import hashlib
import json
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.hub import clients, layouts
from tests.hub.layouts import HubTree
from tests.hub.server import LoopbackHub

REPO = "jbloom/GPT2-Small-SAEs-Reformatted"
SAE = "blocks.8.hook_resid_pre"
WEIGHTS = f"{SAE}/sae_weights.safetensors"
Environment = Callable[..., dict[str, str]]

LOAD = """
import json, warnings
import torch
from safetensors.torch import save_file
from sae_lens import SAE
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM

warnings.simplefilter("ignore")
tensors, facts = {}, {}
releases = {name: listed for name, listed in get_pretrained_saes_directory().items() if "gpt2-small" in name}
for release, listed in releases.items():
    for sae_id in list(listed.saes_map)[FIRST:]:
        sae, cfg, sparsity = SAE.from_pretrained_with_cfg_and_sparsity(release, sae_id)
        name = f"{release}|{sae_id}"
        tensors[name] = sae.W_dec.detach().contiguous()
        if sparsity is not None:
            tensors[f"{name}|sparsity"] = sparsity
        facts[name] = [sae.cfg.metadata.model_name, sae.cfg.metadata.hook_name, sae.cfg.architecture()]
bridge = TransformerBridge.boot_transformers("gpt2", device="cpu", dtype=torch.float32)
tensors["raw"] = bridge.W_U.detach().contiguous().clone()
facts["tokens"] = bridge.tokenizer.convert_ids_to_tokens(list(range(len(bridge.tokenizer))))
text = "The café, and the 1920s: 中"
encoded = bridge.tokenizer.encode(text)  # TransformerLens has it begin with <|endoftext|>
facts["decoded"] = bridge.tokenizer.decode(encoded, skip_special_tokens=True)
facts["the"] = bridge.tokenizer.tokenize(" the")
bridge.enable_compatibility_mode()
tensors["processed"] = bridge.W_U.detach().contiguous().clone()
for revision in ("padded", "v0.9"):
    model = AutoModelForCausalLM.from_pretrained("gpt2", revision=revision)
    tensors[revision] = model.transformer.wte.weight.detach().contiguous().clone()
save_file(tensors, "loaded.safetensors")
json.dump(facts, open("facts.json", "w"))
"""


@pytest.mark.parametrize(("first", "n_saes"), [(-1, 18), pytest.param(0, 159, marks=pytest.mark.slow)])
def test_the_clients_load_the_model_and_saes_of_each_release(
    hub: LoopbackHub,
    hub_tree: HubTree,
    hub_environment: Environment,
    tmp_path: Path,
    first: int,
    n_saes: int,
) -> None:
    clients.run(LOAD.replace("FIRST", str(first)), hub_environment(), tmp_path)
    loaded = load_file(tmp_path / "loaded.safetensors")
    facts = json.loads((tmp_path / "facts.json").read_text())
    saes = {name: sae for name, sae in hub_tree.saes.items() if "|".join(name) in facts}
    assert len(saes) == n_saes
    for (release, sae_id), sae in saes.items():
        name = f"{release}|{sae_id}"
        torch.testing.assert_close(loaded[name], sae.loaded, rtol=1e-6, atol=0)
        architecture = "topk" if "-v5-" in release else "standard"
        assert facts[name] == ["gpt2-small", layouts.hook_name(sae.entry), architecture]
        assert (f"{name}|sparsity" in loaded) == (sae.log_sparsity is not None)
        if sae.log_sparsity is not None:
            assert torch.equal(loaded[f"{name}|sparsity"], sae.log_sparsity)
    embedding, gain = hub_tree.model["wte.weight"].double(), hub_tree.model["ln_f.weight"].double()
    assert torch.equal(loaded["raw"], hub_tree.model["wte.weight"].T)
    folded = gain[:, None] * embedding.T
    folded = folded - folded.mean(0, keepdim=True)
    folded = folded - folded.mean(1, keepdim=True)
    torch.testing.assert_close(loaded["processed"].double(), folded, rtol=0, atol=1e-6)
    assert torch.equal(loaded["padded"], hub_tree.model_padded["wte.weight"])
    assert loaded["padded"].shape[0] == len(hub_tree.tokens) + layouts.PADDING
    assert torch.equal(loaded["v0.9"], hub_tree.model_old["wte.weight"])
    assert tuple(facts["tokens"]) == hub_tree.tokens and facts["the"] == ["Ġthe"]
    assert facts["decoded"] == "The café, and the 1920s: 中"
    asked = [path for method, path in hub.requests]
    assert "/api/models/gpt2" in asked and "/api/models/openai-community/gpt2" in asked


DOWNLOAD = """
import hashlib, huggingface_hub as hub
try:
    path = hub.hf_hub_download({repo!r}, {name!r}, revision={revision!r})
    print(hashlib.sha256(open(path, "rb").read()).hexdigest(), path)
except BaseException as error:
    print(type(error).__name__, error)
"""


def download(environment: dict[str, str], folder: Path, repo: str, name: str, revision: str = "main") -> str:
    """What huggingface_hub's own download ends in: the sha256 of what it got, or the name of an exception."""
    code = DOWNLOAD.format(repo=repo, name=name, revision=revision)
    return clients.run(code, environment, folder).split()[0]


def stored(tree: HubTree, name: str = WEIGHTS, revision: str = "main") -> str:
    """sha256 of a file of res-jb as it lies on the hub's disk."""
    top = tree.folder / REPO
    data = (top / "commits" / (top / "refs" / revision).read_text() / name).read_bytes()
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("revision", ["main", "v0.9"])
def test_a_revision_is_served_by_name_and_by_commit(
    hub_tree: HubTree, hub_environment: Environment, tmp_path: Path, revision: str
) -> None:
    commit = (hub_tree.folder / REPO / "refs" / revision).read_text()
    expected = stored(hub_tree, revision=revision)
    assert download(hub_environment(), tmp_path, REPO, WEIGHTS, revision) == expected
    shutil.rmtree(tmp_path / "hf")
    assert download(hub_environment(), tmp_path, REPO, WEIGHTS, commit) == expected
    assert stored(hub_tree, revision="v0.9") != stored(hub_tree)


@pytest.mark.parametrize(
    ("repo", "name", "revision", "error"),
    [
        (REPO, "nothing.json", "main", "RemoteEntryNotFoundError"),
        (REPO, WEIGHTS, "nowhere", "RevisionNotFoundError"),
        ("nobody/nothing", WEIGHTS, "main", "RepositoryNotFoundError"),
    ],
)
def test_what_is_not_there_is_refused_by_name(
    hub_environment: Environment, tmp_path: Path, repo: str, name: str, revision: str, error: str
) -> None:
    assert download(hub_environment(), tmp_path, repo, name, revision) == error
    marked = list((tmp_path / "hf").rglob(".no_exist/*/nothing.json"))
    assert len(marked) == (error == "RemoteEntryNotFoundError")


def test_a_cut_download_is_resumed_from_where_it_stopped(
    hub: LoopbackHub, hub_tree: HubTree, hub_environment: Environment, tmp_path: Path
) -> None:
    hub.cut("/cdn/*", after=1000)
    assert download(hub_environment(), tmp_path, REPO, WEIGHTS) == stored(hub_tree)
    assert [method for method, path in hub.requests] == ["HEAD", "GET", "GET"]


def test_a_reset_connection_and_an_error_500_on_a_body_are_not_retried(
    hub: LoopbackHub, hub_tree: HubTree, hub_environment: Environment, tmp_path: Path
) -> None:
    hub.cut("/cdn/*", after=1000, reset=True)
    assert download(hub_environment(), tmp_path, REPO, WEIGHTS) == "ReadError"
    hub.fail("/cdn/*", times=1)
    assert download(hub_environment(), tmp_path, REPO, WEIGHTS) == "HfHubHTTPError"
    assert download(hub_environment(), tmp_path, REPO, WEIGHTS) == stored(hub_tree)


def test_error_500_three_times_is_survived_on_metadata(
    hub: LoopbackHub, hub_tree: HubTree, hub_environment: Environment, tmp_path: Path
) -> None:
    hub.fail(f"*/{WEIGHTS}", times=3, methods=("HEAD",))
    assert download(hub_environment(), tmp_path, REPO, WEIGHTS) == stored(hub_tree)
    assert [method for method, path in hub.requests] == ["HEAD"] * 4 + ["GET"]


def test_wrong_bytes_are_taken_for_good_by_the_client(
    hub: LoopbackHub, hub_tree: HubTree, hub_environment: Environment, tmp_path: Path
) -> None:
    """Why fsrl must check hashes itself: huggingface_hub neither notices nor, later, downloads again."""
    hub.corrupt(f"*/{WEIGHTS}")
    wrong = download(hub_environment(), tmp_path, REPO, WEIGHTS)
    assert len(wrong) == 64 and wrong != stored(hub_tree)
    hub.heal()
    assert download(hub_environment(), tmp_path, REPO, WEIGHTS) == wrong


def test_the_model_api_gives_sizes_hashes_and_commit(hub: LoopbackHub, hub_tree: HubTree) -> None:
    with urllib.request.urlopen(f"{hub.url}/api/models/gpt2?blobs=true") as reply:
        info = json.load(reply)
    assert info["sha"] == (hub_tree.folder / "openai-community/gpt2/refs/main").read_text()
    asked = [path for method, path in hub.requests]
    assert asked == ["/api/models/gpt2", "/api/models/openai-community/gpt2"]
    with urllib.request.urlopen(f"{hub.url}/api/models/{REPO}/tree/main?recursive=true") as reply:
        [entry] = [entry for entry in json.load(reply) if entry["path"] == WEIGHTS]
    assert entry["lfs"]["oid"] == stored(hub_tree)
    with urllib.request.urlopen(f"{hub.url}/api/models/{REPO}/tree/main") as reply:
        kinds = {entry["path"]: entry["type"] for entry in json.load(reply)}
    assert kinds[SAE] == "directory" and kinds[".gitattributes"] == "file" and WEIGHTS not in kinds


def request(url: str, method: str, path: str, **headers: str) -> tuple[int, HTTPMessage, bytes]:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=5)
    connection.request(method, path, headers=headers)
    reply = connection.getresponse()
    return reply.status, reply.headers, reply.read()


def test_a_large_file_is_redirected_and_served_in_ranges(hub: LoopbackHub, hub_tree: HubTree) -> None:
    status, headers, _ = request(hub.url, "HEAD", f"/{REPO}/resolve/main/{WEIGHTS}")
    place = headers["Location"].removeprefix(hub.cdn)
    assert status == 302 and headers["X-Linked-Etag"] == f'"{stored(hub_tree)}"'
    assert place.startswith("/cdn/") and headers["X-Repo-Commit"] in place
    status, headers, whole = request(hub.cdn, "GET", place)
    assert (status, hashlib.sha256(whole).hexdigest()) == (200, stored(hub_tree))
    status, headers, part = request(hub.cdn, "GET", place, Range="bytes=10-19")
    assert (status, part, headers["Content-Range"]) == (206, whole[10:20], f"bytes 10-19/{len(whole)}")
    status, headers, part = request(hub.cdn, "GET", place, Range="bytes=10-")
    assert (status, part) == (206, whole[10:])
    assert request(hub.cdn, "GET", place, Range=f"bytes={len(whole)}-")[0] == 416


def test_a_small_file_has_its_git_hash_as_etag(hub: LoopbackHub) -> None:
    status, headers, body = request(hub.url, "GET", f"/{REPO}/resolve/main/{SAE}/cfg.json")
    assert headers["ETag"] == f'"{hashlib.sha1(b"blob %d" % len(body) + bytes(1) + body).hexdigest()}"'
    assert (status, headers["Content-Length"], "X-Linked-Etag" in headers) == (200, str(len(body)), False)


def test_a_stalled_request_gets_no_answer_until_the_hub_heals(hub: LoopbackHub) -> None:
    hub.stall("*/config.json")
    path = "/openai-community/gpt2/resolve/main/config.json"
    connection = HTTPConnection(hub.url.removeprefix("http://"), timeout=0.3)
    connection.request("HEAD", path)
    with pytest.raises(TimeoutError):
        connection.getresponse()
    hub.heal()
    assert request(hub.url, "HEAD", path)[0] == 200


def test_a_closed_hub_refuses_connections_and_may_come_back(hub: LoopbackHub) -> None:
    url = hub.url
    kept = HTTPConnection(url.removeprefix("http://"), timeout=5)
    kept.request("GET", "/api/models/gpt2")
    kept.getresponse().read()
    hub.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])))
    with pytest.raises((ConnectionError, OSError)):
        urllib.request.urlopen(f"{url}/api/models/gpt2")
    # A connection that was open does not outlive the hub (auto_open would make http.client open another).
    kept.auto_open = 0
    with pytest.raises(OSError):
        kept.request("GET", "/api/models/gpt2")
        kept.getresponse()
    hub.open()
    assert hub.url == url and request(url, "GET", "/api/models/openai-community/gpt2")[0] == 200
