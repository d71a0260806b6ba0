"""A study of transcoders: statistics at the place where they write, no effects, and one line that says so."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from scipy import stats

from fsrl.browser import chunks
from fsrl.latex import document as tex_document
from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS
from tests.fixtures.adapter_examples import make_sae
from tests.fixtures.driven_browser import Visit, chromium
from tests.fixtures.paper_text import words
from tests.fixtures.project import Project

EFFECT_RULES = {"measure_effects_tiny", "effect_summary", "draw_effect_figures", "write_latex_effects"}
EFFECT_RULES |= {"measure_steering_tiny", "summarise_steering", "write_latex_steering"}
LINE = "study tiny is built without effects: mlp-0 is a transcoder, whose features are read at another place"
KINDS = ("transcoder", "skip_transcoder")
IDS = ("mlp-0", "mlp-1")


def reads(layer: int) -> str:
    return f"blocks.{layer}.ln2.hook_normalized"


def writes(layer: int) -> str:
    return f"blocks.{layer}.hook_mlp_out"


def with_transcoders(fresh: Project, folder: Path) -> Project:
    """The tiny study with transcoders in the place of its SAEs."""
    project = fresh.copy(folder)
    for layer, kind in enumerate(KINDS):
        sae = make_sae(
            kind,
            hook=reads(layer),
            seed=layer,
            metadata={"hook_name_out": writes(layer)},
            d_out=16,
            apply_b_dec_to_input=False,
        )
        sae.save_model(project.folder / "transcoders" / IDS[layer])
    path = project.folder / "tiny/config.yaml"
    config = json.loads(path.read_text())
    config["studies"]["tiny"] |= {"title": "tiny transcoders", "saes": {"folder": "transcoders"}}
    path.write_text(json.dumps(config))
    return project


@pytest.fixture(scope="module")
def finished(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """All of it, and its site."""
    project = with_transcoders(fresh, tmp_path_factory.mktemp("transcoders") / "project")
    done = project.snakemake("all", "browser")
    assert done.returncode == 0, done.stderr
    return project


def test_effects_are_left_out_and_one_line_says_so(fresh: Project, tmp_path: Path) -> None:
    project = with_transcoders(fresh, tmp_path / "project")
    planned = fresh.plan()
    assert set(project.plan()) == set(planned) - EFFECT_RULES
    said = project.without_jobs("--dry-run").stderr.splitlines()
    assert sum(line.startswith(LINE) for line in said) == 1


@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 1])
def test_statistics_are_of_the_place_where_it_writes(finished: Project, layer: int) -> None:
    table = finished.folder / f"results/tiny/{IDS[layer]}/trained/types.parquet"
    metadata = tables.read_metadata(table)
    assert metadata["encoder_hook"].startswith(f"{reads(layer)}: a transcoder")
    assert metadata["hook"] == writes(layer)
    moments = tables.read(finished.folder / f"results/tiny/{IDS[layer]}/main/moments.parquet", MOMENTS)
    stored = finished.folder / f"transcoders/{IDS[layer]}/sae_weights.safetensors"
    rows = load_file(stored)["W_dec"].double()
    model = load_file(finished.folder / "tiny/model/model.safetensors")
    weights = {name.removeprefix("transformer."): tensor.double() for name, tensor in model.items()}
    folded = (weights["wte.weight"] * weights["ln_f.weight"]).T
    logits = (rows @ (folded - folded.mean(dim=0))).numpy()
    np.testing.assert_allclose(moments["kurtosis"], stats.kurtosis(logits, axis=1, fisher=False), rtol=1e-4)
    np.testing.assert_allclose(moments["skewness"], stats.skew(logits, axis=1), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_nothing_of_effects_is_there_and_the_run_is_finished(finished: Project) -> None:
    names = set(finished.outputs())
    assert not {name for name in names if "effect" in name or "steering" in name or "contexts" in name}
    assert finished.plan() == {}


@pytest.mark.slow
@pytest.mark.skipif(bool(tex_document.missing_programs()), reason=f"no LaTeX: {tex_document.HOW_TO_GET}")
def test_the_paper_says_what_it_is_of(finished: Project) -> None:
    said = words(finished.folder / "paper/main.pdf")
    assert "Its dictionaries are transcoders" in said
    assert f"the first reads {reads(0)}, writes {writes(0)}" in said
    assert "None of this was measured for tiny transcoders." in said
    assert "What the model does with the features of tiny transcoders was not measured." in said
    # Nothing is claimed of what nobody measured, and every reference leads somewhere.
    assert "much of the agreement with the logits" not in said
    assert "matched random direction reaches" not in said and "??" not in said


@pytest.mark.slow
def test_the_browser_says_where_they_read_and_write(finished: Project) -> None:
    folder = finished.folder / "results/tiny/browser"
    _, study = chunks.content((folder / "data/study.js").read_text())
    assert [layer["sae"] for layer in study["layers"]] == list(IDS)
    assert [layer["hook"] for layer in study["layers"]] == [writes(0), writes(1)]
    assert [layer["reads"] for layer in study["layers"]] == [reads(0), reads(1)]
    with chromium() as browser:
        visit = Visit(browser)
        page = visit.open((folder / "index.html").as_uri())
        assert "transcoders transcoders" in str(page.text_content("#place"))
        page = visit.open((folder / "index.html").as_uri() + "#layer=mlp-1&feature=5")
        said = page.locator("#feature .place").inner_text()
        assert f"reads {reads(1)}" in said and f"writes {writes(1)}" in said and "mlp-1" in said
        assert page.locator("#page-effects").count() == 0
        visit.context.close()
        assert visit.said == []
