"""Which studies share what their model decides: the folders under results/models."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.project import ROOT, Project, planned
from workflow import settings, studies

CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
HUB = {"model": {"hub": "openai/gpt2"}, "saes": {"neurons": 12}}


def folders(**entries: dict[str, Any]) -> list[str]:
    made = studies.model_folders({"studies": entries})
    assert list(made) == list(entries)
    return list(made.values())


def test_studies_of_gpt2_share_a_model_and_those_of_mini_theirs() -> None:
    found = studies.model_folders(CONFIG)
    assert {found[name] for name in ("mini", "mini-neurons")} == {"mini-model"}
    assert {folder for name, folder in found.items() if name.startswith("gpt2")} == {"gpt2"}
    assert found["pythia-70m-res"] == found["pythia-70m-mlp"] == "EleutherAI-pythia-70m-deduped"


@pytest.mark.parametrize(
    "other",
    [
        {"model": {"hub": "other/gpt2"}},
        {"model": {"hub": "openai/gpt2", "revision": "v2"}},
        {"model": {"folder": "openai/gpt2"}},
        {"model": {"folder": "OpenAI/GPT2"}},
        {"model": {"folder": "/a/openai/gpt2"}},
        {"token_counts": "counts.safetensors"},
    ],
    ids=str,
)
def test_what_differs_in_content_differs_in_folder(other: dict[str, Any]) -> None:
    first, second, again, third = folders(a=HUB, b=HUB | other, c=HUB, d=HUB | other)
    assert first == again and second == third and first.lower() != second.lower()


def test_a_revision_that_is_none_is_none_at_all() -> None:
    assert len(set(folders(a=HUB, b=HUB | {"model": {"hub": "openai/gpt2", "revision": None}}))) == 1


@pytest.mark.parametrize(
    "place",
    [
        ".",
        "/",
        "..",
        "~/models/my model",
        "a" * 300,
        "\N{GREEK SMALL LETTER PI}/\N{SNOWMAN}",
        "-x/-y",
        "a/b/",
    ],
)
def test_every_name_can_be_a_folder(place: str) -> None:
    for name in folders(a={"model": {"folder": place}}, b={"model": {"hub": place}}):
        settings.check_saes("a", [name])


def test_a_model_has_the_views_of_all_its_studies_in_the_order_of_the_config() -> None:
    entries = {"a": HUB | {"views": ["raw", "main"]}, "b": HUB, "c": HUB | {"model": {"hub": "x"}}}
    config = {
        "views": {"main": {}, "trained": {}, "raw": {}, "cosine": {}},
        "study_defaults": {"views": ["trained"]},
        "studies": entries,
    }
    assert studies.model_views(config, "openai-gpt2") == ["main", "trained", "raw"]
    assert studies.model_views(config, "x") == ["trained"]


def test_a_second_study_of_the_model_exports_and_draws_nothing_anew(built: Project, tmp_path: Path) -> None:
    """Neurons beside the SAEs: alone and together, with what stands, without it, and after it has changed."""
    project = built.copy(tmp_path / "project")
    overlay = project.folder / "tiny/config.yaml"
    config = json.loads(overlay.read_text())
    views = {"views": ["cosine", "trained"], "one_job": True, "without": ["effects", "explanations"]}
    config["studies"]["neurons"] = config["studies"]["tiny"] | {"saes": {"neurons": 2}} | views
    overlay.write_text(json.dumps(config))
    of_model = {"export_model", "compute_null_moments_tiny-model"}

    assert project.plan() == {}
    done = project.without_jobs("--dry-run", "--config", "study=neurons")
    alone = planned(done)
    assert not of_model & alone.keys()
    # One job for both layers, and neither effects nor explanations, which is said once.
    assert alone["compute_moments_neurons"] == alone["test_enrichment_neurons"] == 1
    assert not alone.keys() & {"measure_effects_neurons", "effect_summary", "explain_features"}
    assert (
        done.stderr.count("study neurons is built without effects, explanations (studies.neurons.without)")
        == 1
    )
    assert "compare_dictionaries" not in alone
    both = planned(project.without_jobs("--dry-run", "--config", "run=[tiny, neurons]"))
    assert both["compare_dictionaries"] == both["draw_dictionaries"] == both["write_latex_dictionaries"] == 1
    assert not both.keys() & (of_model | {"compute_moments_tiny", "assign_types_tiny"})
    shutil.rmtree(project.folder / "results/models")
    assert of_model <= planned(project.without_jobs("--dry-run", "--config", "study=neurons")).keys()
