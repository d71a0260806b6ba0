"""The workflow end to end on models that are no GPT-2, from local folders: a tiny Pythia, a tiny Gemma 2."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats

from fsrl.browser import chunks
from fsrl.tables import core as tables
from fsrl.tables.effects import AGREEMENT, SUMMARY
from fsrl.tables.moments import MOMENTS
from fsrl.tables.tokens import TOKENS
from fsrl.weights import matrices, transport
from tests.fixtures import other_studies
from tests.fixtures.project import Project, lay_out

pytestmark = pytest.mark.slow
LAYERS = [(name, sae) for name, saes in other_studies.SAES.items() for sae in saes]
# Of every SAE in every view, and in the view with enrichment and effects.
IN_VIEWS = (
    "moments",
    "extremes",
    "histograms",
    "null",
    "null_quantiles",
    "fresh_null",
    "axis_share",
    "types",
)
TRAINED = ("enrichment", "best_sets", "scores", "odds_ratios", "splits", "effects")
STUDY = (
    "activations.safetensors",
    "transport.safetensors",
    "token_sets.parquet",
    "claims/trained.tsv",
    "discoveries/trained.parquet",
    "explanations/words.tsv",
    "summary/trained.tsv",
    "summary/effects_summary.parquet",
    "summary/effects_retention.parquet",
)
NOTEBOOKS = ("moments_and_types", "what_types_promote", "direct_vs_measured_effects")
FIGURES = ("trained/layers_grid", "trained/null_p_values", "effects/agreement", "effects/retention")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("others")
    other_studies.build(folder / "tiny")
    project = lay_out(folder / "project", folder / "tiny")
    done = project.snakemake("all", "browser", "notebooks")
    assert done.returncode == 0, done.stderr
    left_out = [line for line in done.stderr.splitlines() if "is built without" in line]
    assert left_out and all("is built without steering: model_type is" in line for line in left_out)
    return project


def test_every_stage_has_its_files(built: Project) -> None:
    expected = {f"{name}/{file}" for name in other_studies.SAES for file in STUDY}
    expected |= {
        f"{name}/{sae}/{view}/{table}.parquet"
        for name, sae in LAYERS
        for view in other_studies.VIEWS
        for table in IN_VIEWS
    }
    expected |= {f"{name}/{sae}/trained/{table}.parquet" for name, sae in LAYERS for table in TRAINED}
    expected |= {f"{name}/explanations/{sae}.parquet" for name, sae in LAYERS}
    lacking = {name for name in expected if not (built.folder / "results" / name).is_file()}
    assert lacking == set()
    notebooks = {f"{name}/notebooks/{one}.html" for name in other_studies.SAES for one in NOTEBOOKS}
    assert {name for name in notebooks if not (built.folder / "results" / name).is_file()} == set()
    figures = {f"{name}/{figure}.png" for name in other_studies.SAES for figure in FIGURES}
    figures |= {f"{name}/trained/{sae}/types.png" for name, sae in LAYERS}
    assert {name for name in figures if not (built.folder / "figures" / name).is_file()} == set()
    assert built.plan() == {}


@pytest.mark.parametrize("name", list(other_studies.SAES))
def test_notebooks_are_of_the_study_and_link_to_those_that_it_has(built: Project, name: str) -> None:
    folder = built.folder / f"results/{name}/notebooks"
    assert sorted(path.stem for path in folder.glob("*.ipynb")) == sorted(NOTEBOOKS)
    for path in folder.glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        (told,) = [cell for cell in cells if "".join(cell["source"]).startswith("# Parameters")]
        assert f"STUDY = {name!r}" in "".join(told["source"])
        linked = re.findall(r"\(([\w-]+)\.ipynb\)", "".join(cells[0]["source"]))
        assert sorted([*linked, path.stem]) == sorted(NOTEBOOKS)
        assert "mini ·" not in path.read_text()  # a figure's title


@pytest.mark.parametrize(("name", "sae"), LAYERS)
def test_moments_are_those_of_the_logit_weights_by_hand(built: Project, name: str, sae: str) -> None:
    folder = built.folder / f"results/{name}/{sae}"
    rows = matrices.read_decoder(folder / "decoder.safetensors").W_dec.double()
    stored = load_file(built.folder / f"tiny/{name}/saes/{sae}/sae_weights.safetensors")["W_dec"].double()
    if sae.endswith("hook_z"):
        weights = load_file(built.folder / "tiny/pythia/model/model.safetensors")
        stored = stored @ weights["gpt_neox.layers.0.attention.dense.weight"].double().T
    torch.testing.assert_close(rows, stored, rtol=1e-4, atol=1e-5)
    logits = (stored @ other_studies.folded(built.folder / "tiny", name)).numpy()
    found = tables.read(folder / "main/moments.parquet", MOMENTS)
    np.testing.assert_allclose(found["std"], logits.std(axis=1), rtol=1e-4)
    np.testing.assert_allclose(found["skewness"], stats.skew(logits, axis=1), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found["kurtosis"], stats.kurtosis(logits, axis=1, fisher=False), rtol=1e-4)


@pytest.mark.parametrize(("name", "sae"), LAYERS)
def test_effects_are_by_the_models_own_forward_pass(built: Project, name: str, sae: str) -> None:
    path = built.folder / f"results/{name}/{sae}/trained/agreement.parquet"
    found, said = tables.read(path, AGREEMENT), tables.read_metadata(path)
    assert said["forward_pass"].startswith(
        "the model's own, a position with the keys and values before it (model"
    )
    assert {"active", "inactive"} >= set(found["state"]) and found["pearson"].notna().any()
    if sae == "blocks.1.hook_resid_post":
        # After the last block nothing but the norm lies between a small step and its logits.
        direct = found[found["prediction"] == "direct"]
        own = direct[(direct["direction"] == "feature") & (direct["step"] == "+1")]
        assert own["averaged_pearson"].median() > 0.8


@pytest.mark.parametrize("name", other_studies.SAES)
def test_the_browser_has_every_sae_with_texts_on_which_features_fire(built: Project, name: str) -> None:
    folder = built.folder / f"results/{name}/browser"
    layers = chunks.content((folder / "data/study.js").read_text())[1]["layers"]
    assert [layer["sae"] for layer in layers] == list(other_studies.SAES[name])
    for number in range(len(layers)):
        pages = chunks.content((folder / f"data/{number}/page0.js").read_text())[1]
        assert len(pages) == other_studies.D_SAE and any(page.get("examples") for page in pages)
        assert any(page.get("effects") for page in pages)


@pytest.mark.parametrize("name", other_studies.SAES)
def test_a_study_says_what_its_model_is(built: Project, name: str) -> None:
    model = json.loads((built.folder / f"tiny/{name}/model/config.json").read_text())
    summary = built.folder / f"results/{name}/summary/effects_summary.parquet"
    assert set(tables.read(summary, SUMMARY)["sae"]) == set(other_studies.SAES[name])
    carried = transport.read(built.folder / f"results/{name}/transport.safetensors")
    method = f"automatic differentiation (model_type is '{model['model_type']}'"
    assert carried.metadata["method"].startswith(method)
    tokens = tables.read(built.folder / f"results/models/{name}-model/tokens.parquet", TOKENS)
    assert 0.9 * len(tokens) < tokens["trained"].sum() <= len(tokens)
    kind = tables.read_metadata(
        built.folder / f"results/{name}/{next(iter(other_studies.SAES[name]))}/main/moments.parquet"
    )
    assert kind["final_norm"] == {"pythia": "LayerNorm", "gemma": "RMSNorm"}[name]
    assert ("logit_soft_cap" in kind) == (name == "gemma")
