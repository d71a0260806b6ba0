"""A view of a published Jacobian lens: fetched and checked, read with our own final norm, refused."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS
from fsrl.weights import matrices, transport
from tests.fixtures.hosted_study import Hosted, configure
from tests.fixtures.project import Project, planned
from tests.hub import repositories
from tests.hub.layouts import SHAPE, HubTree
from tests.hub.server import LoopbackHub

LENS, FILE = "neuronpedia/jacobian-lens", "gpt2-small/jlens/Salesforce-wikitext/gpt2_jacobian_lens.pt"
EARLY, LAST = "blocks.5.hook_resid_pre", "blocks.11.hook_resid_post"
MADE, RECORD = "results/ours/lenses/lens.safetensors", "results/ours/lenses/lens.tsv"


def write(path: Path, d_model: int = SHAPE.d_model) -> dict[int, torch.Tensor]:
    """A lens as TransformerLens writes it."""
    from transformer_lens.tools.analysis import JacobianLens

    path.parent.mkdir(parents=True, exist_ok=True)
    seeded = torch.Generator().manual_seed(3)
    J = {layer: torch.randn(d_model, d_model, generator=seeded) for layer in range(SHAPE.n_layers - 1)}
    JacobianLens(J, n_prompts=9, d_model=d_model).save(str(path), dtype=torch.float32)
    return J


@pytest.fixture
def lens_hub(hub_tree: HubTree, tmp_path: Path) -> Iterator[LoopbackHub]:
    """The hub with a repository of lenses more."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for place in hub_tree.folder.iterdir():
        (tree / place.name).symlink_to(place)
    write(repositories.new_commit(tree, LENS, "main") / FILE)
    with closing(LoopbackHub(tree)) as hub:
        yield hub


@pytest.fixture
def hosted(lens_hub: LoopbackHub, fresh: Project, tmp_path: Path) -> Hosted:
    """A study with the view, nothing of it built or fetched."""
    project = fresh.copy(tmp_path / "project")
    configure(project)
    change(project, lambda config: None)
    return Hosted(project, lens_hub, tmp_path)


def change(project: Project, edit) -> None:
    """The project's config with the study's view of the lens, and what `edit` does to it."""
    path = project.folder / "tiny/config.yaml"
    config = json.loads(path.read_text())
    config["studies"]["ours"] |= {"views": ["trained", "cosine", "lens"]}
    config["studies"]["ours"]["saes"] |= {"ids": [EARLY, LAST]}
    config["nulls"] |= {"kinds": ["isotropic", "second_moment"]}
    # Of a short text some windows must be left for T.
    config["effects"]["large_model_on_cpu"] = config["effects"]["sample"] | {
        "contexts": 8,
        "million_parameters": 50,
    }
    edit(config)
    path.write_text(json.dumps(config))


def error(done) -> str:
    assert done.returncode != 0
    [line] = {line for line in done.stderr.splitlines() if line.startswith("error:")}
    return line


def test_a_lens_is_fetched_checked_and_read(hosted: Hosted) -> None:
    project, folder = hosted.project, hosted.project.folder
    dry = hosted.run(project, "--dry-run", "--quiet")
    assert dry.stderr.count("study ours is skipped: its weights are not on this machine") == 1
    hosted.hub.corrupt(f"*{FILE}")
    done = hosted.run_ours(project, "download")
    assert done.returncode != 0 and "does not have the hash" in done.stderr and not (folder / RECORD).exists()
    hosted.hub.heal()
    done = hosted.run_ours(project, "download")
    assert done.returncode == 0, done.stderr
    assert FILE in (folder / RECORD).read_text()

    # A cache that was emptied is filled again.
    shutil.rmtree(hosted.folder / "hf")
    assert planned(hosted.run_ours(project, "--dry-run", "download"))["download"] == 1
    assert hosted.run_ours(project, "download").returncode == 0

    early = f"results/ours/{EARLY}/lens/moments.parquet"
    done = hosted.run_ours(project, early)
    assert done.returncode == 0, done.stderr
    decoder = matrices.read_decoder(folder / f"results/ours/{EARLY}/decoder.safetensors")
    unembedding = matrices.read_unembedding(folder / "results/models/gpt2/unembedding.safetensors")
    own = transport.read(folder / "results/ours/transport.safetensors")
    J = write(hosted.folder / "lens.pt")[4]
    rows = decoder.W_dec.double() @ (own.at(LAST).double() @ J.double()).T
    W_U = unembedding.folded.double()
    kept = W_U if unembedding.trained is None else W_U[:, unembedding.trained]
    found = tables.read(folder / early, MOMENTS)
    expected = (rows @ kept).std(dim=1, correction=0)
    assert torch.allclose(torch.tensor(found["std"].to_numpy(dtype=float)), expected, rtol=1e-4)
    said = transport.read(folder / MADE).metadata
    assert said["lens"] == f"{LENS}/{FILE}" and said["position"] == "all later ones, summed"


def test_what_does_not_fit_is_one_line(hosted: Hosted) -> None:
    project = hosted.project
    write(project.folder / "other.pt", d_model=25)

    def local(config: dict) -> None:
        view = {"w_u": "folded", "tokens": "trained", "cosine": False, "transport": {"lens": "other.pt"}}
        config["views"] = {"lens": view}

    change(project, local)
    said = error(hosted.run_ours(project, MADE))
    assert "other.pt: J of block 0 is [25, 25], and the model has 12 blocks and d_model 24" in said
    (project.folder / "other.pt").unlink()
    said = error(hosted.run_ours(project, "--dry-run", MADE))
    assert "config: views.lens.transport: other.pt is missing" in said
