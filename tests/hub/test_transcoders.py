"""A repository that SAELens does not list: whether it holds transcoders is known once its files are here."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fsrl.models import hub_files
from fsrl.models.sources import SAESource
from fsrl.weights import matrices
from tests.fixtures.adapter_examples import make_sae
from tests.fixtures.hosted_study import Hosted
from tests.fixtures.project import Project, planned
from tests.hub import clients, repositories
from tests.hub.server import LoopbackHub

READS, WRITES = "blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"
UNKNOWN = "study ours: whether its SAEs are transcoders, which have no effects, is known once their files are"
REFUSED = (
    "study ours: one of some/transcoders is a transcoder, which has no effects, and only its files tell;"
)
LEFT_OUT = (
    "study ours is built without effects: one is a transcoder, whose features are read at another place"
)


@pytest.fixture(scope="module")
def hub(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    """A hub with the tiny study's model, a transcoder and an SAE in repositories of their own."""
    tree = tmp_path_factory.mktemp("unlisted") / "tree"
    shutil.copytree(
        tiny_study / "model", repositories.new_commit(tree, "tiny/gpt2", "main"), dirs_exist_ok=True
    )
    transcoder = make_sae(
        "transcoder",
        hook=READS,
        metadata={"hook_name_out": WRITES},
        d_out=16,
        apply_b_dec_to_input=False,
    )
    for name, sae in (("transcoders", transcoder), ("saes", make_sae())):
        sae.save_model(repositories.new_commit(tree, f"some/{name}", "main") / "one")
    with closing(LoopbackHub(tree)) as served:
        yield served


def hosted(hub: LoopbackHub, fresh: Project, here: Path, repository: str) -> Hosted:
    """The study `ours` of one of the repositories, with nothing fetched or built."""
    project = fresh.copy(here.resolve() / "project")
    path = project.folder / "tiny/config.yaml"
    config = json.loads(path.read_text())
    config["studies"]["ours"] = {
        "model": {"hub": "tiny/gpt2"},
        "saes": {"release": repository, "ids": ["one"]},
        "views": ["trained", "cosine"],
        "figure_views": ["trained"],
        "evaluation_text": "tiny/evaluation_text.txt",
    }
    config["tokens"]["draws"] = 2000
    path.write_text(json.dumps(config))
    return Hosted(project, hub, here)


def test_the_run_that_fetches_transcoders_ends_there_and_the_next_is_planned_without_effects(
    hub: LoopbackHub, fresh: Project, here: Path
) -> None:
    ours = hosted(hub, fresh, here, "some/transcoders")
    dry = ours.run_ours(ours.project, "--dry-run")
    assert dry.stderr.count(UNKNOWN) == 1 and planned(dry)["measure_effects_ours"] == 1

    done = ours.run_ours(ours.project, "results/ours/one/decoder.safetensors")
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert REFUSED in line and "run again" in line
    # As soon as the files are here: before a model is loaded, and hours before the effects.
    assert (ours.project.folder / "results/ours/hub_files.tsv").is_file()
    assert not list((ours.project.folder / "results/ours").rglob("*.safetensors"))

    dry = ours.run_ours(ours.project, "--dry-run")
    assert dry.stderr.count(LEFT_OUT) == 1 and UNKNOWN not in dry.stderr
    assert not {job for job in planned(dry) if "effect" in job or "steering" in job}
    done = ours.run_ours(ours.project, "results/ours/one/decoder.safetensors")
    assert done.returncode == 0, done.stderr
    found = matrices.read_decoder(ours.project.folder / "results/ours/one/decoder.safetensors")
    assert found.hook == WRITES and found.metadata["encoder_hook"].startswith(f"{READS}: a transcoder")


def test_saes_of_such_a_repository_are_built_in_one_go(hub: LoopbackHub, fresh: Project, here: Path) -> None:
    ours = hosted(hub, fresh, here, "some/saes")
    done = ours.run_ours(ours.project, "results/ours/one/decoder.safetensors")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(UNKNOWN) == 1
    dry = ours.run_ours(ours.project, "--dry-run")
    assert UNKNOWN not in dry.stderr and planned(dry)["measure_effects_ours"] == 1
    # Known or not, what stands was made in the same way.
    assert not {"fetch_weights", "export_weights_ours"} & set(planned(dry))


def test_what_the_files_say_is_known_when_they_are_here(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients.turn_to(hub.url, tmp_path / "hf", monkeypatch)
    for repository, found in (("some/transcoders", ["one"]), ("some/saes", [])):
        source = SAESource(release=repository, ids=("one",))
        assert source.unread() == ["one"] and source.transcoders() == []
        hub_files.fetch(source.hub_files())
        assert source.unread() == [] and source.transcoders() == found
    # Names tell of a listed release, and of its own neurons a model.
    assert SAESource(release="gpt2-small-res-jb").unread() == SAESource(neurons=2).unread() == []
    assert SAESource(neurons=2).transcoders() == []
