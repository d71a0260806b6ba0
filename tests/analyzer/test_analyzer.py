"""The feature analyzer's numbers, settings and figures, on the tiny study."""

import dataclasses
import io
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import torch
import yaml
from scipy import stats

from fsrl import HookedModel, SAEAdapter, defaults
from fsrl.analyzer import tables as analyzer_tables
from fsrl.analyzer import weights as analyzer_weights
from fsrl.analyzer.pages import LocalPage
from fsrl.analyzer.sets import FALSE_DISCOVERY_RATE
from fsrl.analyzer.settings import TableSettings, ViewSettings
from fsrl.errors import FsrlError
from fsrl.explanations.local import LOCAL_MODEL
from fsrl.models import export, reading
from fsrl.models.sources import ModelSource
from fsrl.pages.facts import from_rows
from fsrl.pages.text import number
from fsrl.utils import SAEfeatureAnalyzer
from fsrl.weights import matrices as weights
from tests.fixtures import adapter_examples, architectures, model_examples
from tests.fixtures import analyzer_examples as examples
from tests.fixtures import tiny_study as tiny
from tests.fixtures.adapter_examples import D_IN

MOMENTS = ["mean", "std", "skewness", "kurtosis"]
ALIVE = slice(0, tiny.D_SAE - 1)  # the last row is zero


@pytest.fixture(scope="module")
def made(tiny_study):
    """One analyzer for all that only read it."""
    return examples.analyzer(tiny_study)


def moments(frame):
    return torch.tensor(frame[MOMENTS].to_numpy())[ALIVE]


@pytest.mark.parametrize("form", ["bridge", "raw bridge", "transformer"])
def test_moments_are_those_of_the_whole_product(tiny_study, form):
    """Whatever the model's processing: all three hold the same folded W_U, but for its vocabulary mean."""
    frame = examples.analyzer(tiny_study, form).logit_distr()
    W_U = examples.folded(tiny_study)
    if form != "raw bridge":
        W_U = W_U - W_U.mean(1, keepdim=True)
    expected = examples.by_hand(examples.rows(tiny_study), W_U)[ALIVE]
    torch.testing.assert_close(moments(frame), expected, rtol=1e-4, atol=1e-5)
    assert frame.index.name == "feature" and len(frame) == tiny.D_SAE
    assert np.isnan(frame["skewness"].iloc[-1]) and frame["std"].iloc[-1] == 0


def test_views_are_those_of_weights(tiny_study):
    found = examples.analyzer(tiny_study, "raw bridge")
    W_dec, W_U = examples.rows(tiny_study), examples.folded(tiny_study)
    raw = reading.read_model(ModelSource(folder=str(tiny_study / "model"))).W_U.double()
    trained = torch.ones(W_U.shape[1], dtype=torch.bool)
    trained[:30] = False  # as the study's counts have it; the analyzer's bound is higher and leaves out more
    trained &= torch.arange(W_U.shape[1]).clamp(max=1000) + tiny.MIN_COUNT >= 100
    for view, matrix in ({"w_u": "raw"}, raw), ({"tokens": "trained"}, W_U[:, trained]):
        expected = examples.by_hand(W_dec, matrix)[ALIVE]
        torch.testing.assert_close(moments(found.logit_distr(**view)), expected, rtol=1e-4, atol=1e-5)
    cosines = W_U - W_U.mean(1, keepdim=True)
    cosines = cosines / cosines.norm(dim=0)
    expected = examples.by_hand(W_dec[ALIVE] / W_dec[ALIVE].norm(dim=1, keepdim=True), cosines)
    torch.testing.assert_close(moments(found.logit_distr(cosine=True)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "processing",
    [
        {"no_processing": True},
        {"fold_ln": False},
        {"fold_ln": False, "center_unembed": False, "center_writing_weights": False},
    ],
)
def test_an_unfolded_bridge_has_its_raw_w_u_in_compatibility_mode_too(tiny_study, processing):
    sae_model = examples.hooked(tiny_study, "raw bridge")
    sae_model.model.enable_compatibility_mode(disable_warnings=True, **processing)
    raw = reading.read_model(ModelSource(folder=str(tiny_study / "model"))).W_U.double()
    expected = examples.by_hand(examples.rows(tiny_study), raw)[ALIVE]
    found = moments(SAEfeatureAnalyzer(sae_model).logit_distr(w_u="raw", tokens="all"))
    torch.testing.assert_close(found[:, 1:], expected[:, 1:], rtol=1e-4, atol=1e-5)


def test_weights_processed_outside_of_compatibility_mode_are_not_taken_for_raw(tiny_study):
    sae_model = examples.hooked(tiny_study, "raw bridge")
    sae_model.model.process_weights()
    with pytest.raises(FsrlError, match="already folded"):
        SAEfeatureAnalyzer(sae_model).logit_distr(w_u="raw", tokens="all")


def test_what_a_processed_model_does_not_hold_is_refused_or_given(tiny_study, tmp_path):
    with pytest.raises(FsrlError, match="already folded"):
        examples.analyzer(tiny_study).logit_distr(w_u="raw")
    sae_model = examples.hooked(tiny_study)
    sae_model.model.cfg.model_name = "elsewhere"  # so that no study's counts lie beside it
    with pytest.raises(FsrlError, match="undertrained is not known"):
        SAEfeatureAnalyzer(sae_model).logit_distr(tokens="trained")
    model = reading.read_model(ModelSource(folder=str(tiny_study / "model")))
    given = export.unembedding(model, counts_path=None, min_count=5, draws=2000, seed=0)
    weights.write_unembedding(given, tmp_path / "unembedding.safetensors")
    found = SAEfeatureAnalyzer(
        sae_model, unembedding=tmp_path / "unembedding.safetensors", tokens="all", results=False
    )
    expected = examples.by_hand(examples.rows(tiny_study), examples.folded(tiny_study))[ALIVE]
    torch.testing.assert_close(moments(found.logit_distr()), expected, rtol=1e-4, atol=1e-5)
    assert not found.tables.weights.vocabulary_centred and found.logit_distr(w_u="raw")["std"].iloc[0] > 0
    other = dataclasses.replace(given, tokens=tuple(reversed(given.tokens)))
    with pytest.raises(FsrlError, match="tokens or d_model differ"):
        SAEfeatureAnalyzer(sae_model, unembedding=other).logit_distr()


@pytest.mark.parametrize(("name", "offset"), [("llama", 0.0), ("gemma", 1.0)])
@pytest.mark.parametrize("processed", [True, False], ids=["processed", "raw"])
def test_an_rms_norm_is_folded_as_one(name, offset, processed, tmp_path):
    """RMSNorm reads the mean over d_model, and Gemma's multiplies by 1 + its weight."""
    own = architectures.write(name, tmp_path / name)
    gain = own.model.norm.weight.detach().double() + offset
    W_U = (own.get_output_embeddings().weight.detach().double() * gain).T
    sae = adapter_examples.make_sae(hook="blocks.1.hook_resid_pre", d_in=len(W_U), d_sae=12)
    model = model_examples.bridge(tmp_path / name, processed=processed)
    found = SAEfeatureAnalyzer(HookedModel(model, SAEAdapter(sae)))
    expected = examples.by_hand(sae.W_dec.detach().double(), W_U)
    if processed:  # centred over the vocabulary
        expected[:, 0] = 0
    moments = torch.tensor(found.logit_distr()[MOMENTS].to_numpy())
    torch.testing.assert_close(moments, expected, rtol=1e-4, atol=1e-5)
    said = found.tables.weights.unembedding.metadata
    assert said["final_norm"] == "RMSNorm" and found.tables.weights.has_raw != processed


def test_a_head_that_folding_does_not_describe_is_refused(tmp_path):
    architectures.write("openai-gpt", tmp_path / "post")
    sae = adapter_examples.make_sae(hook="blocks.1.hook_resid_post", d_in=D_IN, d_sae=12)
    model = model_examples.bridge(tmp_path / "post", processed=False)
    with pytest.raises(FsrlError, match="analyzer: .*post: TransformerLens finds no final norm in OpenAIGPT"):
        SAEfeatureAnalyzer(HookedModel(model, SAEAdapter(sae))).logit_distr()


@pytest.mark.parametrize(
    ("hook", "width", "writing"),
    [("blocks.1.attn.hook_z", D_IN, "W_O"), ("blocks.1.mlp.hook_post", 4 * D_IN, "W_out")],
)
def test_heads_and_neurons_are_mapped_into_the_residual_stream(tiny_study, hook, width, writing):
    sae_model = examples.hooked_at(tiny_study, hook, width)
    stored = getattr(sae_model.model, writing)[1].detach().double().reshape(width, D_IN)
    W_dec = sae_model.sae_adapter.W_dec.detach().double() @ stored
    W_U = examples.folded(tiny_study)
    expected = examples.by_hand(W_dec, W_U - W_U.mean(1, keepdim=True))
    found = torch.tensor(SAEfeatureAnalyzer(sae_model, tokens="all").logit_distr()[MOMENTS].to_numpy())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_queries_have_no_logit_weights(tiny_study):
    sae_model = examples.hooked_at(tiny_study, "blocks.1.attn.hook_q", 8, form="transformer")
    with pytest.raises(FsrlError, match="hook_q are not in the residual stream"):
        SAEfeatureAnalyzer(sae_model).logit_distr()


def test_densities_are_found_beside_the_weights_or_given_or_unknown(tiny_study, made, caplog):
    expected = torch.linspace(-10, -1, tiny.D_SAE)
    assert made.logit_distr()["log10_density"].tolist() == pytest.approx(expected.tolist())
    assert made.logit_distr()["alive"].tolist() == (expected >= -9).tolist()
    other = examples.hooked(tiny_study, sae_id=tiny.SAE_IDS[1])
    assert SAEfeatureAnalyzer(other).logit_distr()["alive"].isna().all()
    given = SAEfeatureAnalyzer(other, sparsity=-2 * torch.ones(tiny.D_SAE)).logit_distr()
    assert (given["log10_density"] == -2).all()
    with caplog.at_level(logging.WARNING):
        found = SAEfeatureAnalyzer(examples.hooked_at(tiny_study, examples.HOOK, D_IN)).logit_distr()
    assert found["log10_density"].isna().all() and "give sparsity=" in caplog.text


def test_nothing_is_computed_before_it_is_asked_for_and_nothing_twice(tiny_study, monkeypatch):
    counted = {"moments": 0, "null": 0}
    for name in counted:
        real = getattr(analyzer_tables.FeatureTables, f"_{name}")

        def counting(self, settings, real=real, name=name):
            counted[name] += 1
            return real(self, settings)

        monkeypatch.setattr(analyzer_tables.FeatureTables, f"_{name}", counting)
    found = examples.analyzer(tiny_study)
    repr(found)
    assert counted == {"moments": 0, "null": 0} and "weights" not in vars(found.tables)
    first = found.logit_distr()
    first["std"] = 0.0
    assert (found.logit_distr()["std"].iloc[ALIVE] > 0).all()  # what is handed out is a copy
    found.plot_logit_distr_skewness()
    assert counted == {"moments": 1, "null": 0}  # a plot draws a few directions of its own
    for _ in range(2):
        found.types()
        found.get_feature_page(1)
    assert counted == {"moments": 1, "null": 1}


def test_the_plots_save_show_and_leave_matplotlib_alone(made, tmp_path):
    backend, style = matplotlib.get_backend(), dict(matplotlib.rcParams)
    for name, ending in ("skewness", "pdf"), ("kurtosis", "png"), ("skewness_vs_kurtosis", "pdf"):
        path = tmp_path / f"{name}.{ending}"
        figure = getattr(made, f"plot_logit_distr_{name}")(save_path=path)
        assert path.read_bytes().startswith(b"%PDF" if ending == "pdf" else b"\x89PNG")
        assert matplotlib.image.imread(io.BytesIO(figure._repr_png_())).ndim == 3
        assert "tiny" in figure.get_suptitle() and "folded W_U, all tokens" in figure.get_suptitle()
    assert matplotlib.get_backend() == backend and dict(matplotlib.rcParams) == style
    with pytest.raises(FsrlError, match="pdf or .png"):
        made.plot_logit_distr_kurtosis(save_path=tmp_path / "kurtosis.doc")


def test_settings_and_view_are_the_config_s():
    config = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text())
    assert config["types"]["default_scheme"] == defaults.SCHEME
    assert config["types"]["schemes"][defaults.SCHEME] == defaults.SCHEME_SETTINGS
    assert config["enrichment"]["level"] == defaults.ENRICHMENT_LEVEL
    assert config["steering"] | {"prompts": tuple(config["steering"]["prompts"])} == defaults.STEERING
    effects = config["effects"]
    assert (effects["context"], effects["seed"]) == (defaults.EFFECTS_CONTEXT, defaults.EFFECTS_SEED)
    assert effects["sample"] == defaults.EFFECTS_SAMPLE
    assert effects["large_model_on_cpu"] == defaults.LARGE_MODEL_ON_CPU
    assert config["views"][config["study_defaults"]["figure_views"][0]] == defaults.VIEW
    of_lenses = {"lens": config["views"]["lens"] | {"transport": "lens"}}
    assert config["views"] | of_lenses == defaults.VIEWS
    assert vars(ViewSettings()) == defaults.VIEW | {"transport": None}
    nulls = config["nulls"]
    drawn = (nulls["draws"], nulls["layer_draws"], nulls["seed"])
    assert drawn == (defaults.NULL_DRAWS, defaults.LAYER_DRAWS, defaults.NULL_SEED)
    assert set(analyzer_tables.OWN_KINDS) <= set(nulls["kinds"])
    assert config["tokens"] == {
        "min_count": defaults.MIN_COUNT,
        "draws": defaults.TOKEN_DRAWS,
        "seed": defaults.TOKEN_SEED,
    }
    assert TableSettings().as_workflow and not TableSettings(seed=1).as_workflow


def test_the_view_is_the_workflow_s_unless_nothing_tells_trained_tokens(tiny_study, caplog):
    """Counts lie beside the model; without them and without raw W_U all tokens are shown, and it is said."""
    sae_model = examples.hooked(tiny_study)
    found = SAEfeatureAnalyzer(sae_model, results=False)
    assert found.view.tokens == "trained"
    assert found.logit_distr()["kurtosis"].equals(found.logit_distr(tokens="trained")["kurtosis"])
    assert not found.logit_distr()["kurtosis"].equals(found.logit_distr(tokens="all")["kurtosis"])
    sae_model.model.cfg.model_name = "elsewhere"
    assert "all tokens are shown" not in caplog.text
    found = SAEfeatureAnalyzer(sae_model, results=False)
    assert found.logit_distr(tokens="all")["kurtosis"].equals(found.logit_distr()["kurtosis"])
    assert found.view.tokens == "all" and caplog.text.count("all tokens are shown") == 1
    with pytest.raises(FsrlError, match="undertrained is not known"):
        found.logit_distr(tokens="trained")


def test_a_local_page_says_what_the_tables_say(made, tmp_path):
    page = made.get_feature_page(3, save_path=tmp_path / "page.html")
    assert isinstance(page, LocalPage) and (tmp_path / "page.html").read_text() == page.html
    assert LOCAL_MODEL in page.html and "does not host" in page.html and "not known" in page.html
    assert "evaluation_text.txt" in page.html
    row = made.logit_distr().loc[3]
    assert f"Kurtosis: {number(row['kurtosis'])} (" in page.html
    assert f"Skewness: {number(row['skewness'])} (" in page.html
    frame = page._repr_html_()
    assert (
        frame.startswith("<iframe srcdoc=") and 'sandbox="allow-scripts"' in frame and frame.count("<") == 2
    )
    with pytest.raises(FsrlError, match="written as .html"):
        made.get_feature_page(3, save_path=tmp_path / "page.txt")
    with pytest.raises(FsrlError, match=r"text is '.*text\.txt'; there is no such file"):
        SAEfeatureAnalyzer(made.sae_model, text=tmp_path / "text.txt", **examples.FEW)


def test_sets_on_the_page_have_the_rate_of_this_sae(made):
    """q by scipy, over all features and sets of the SAE; both sides are listed, promoted first."""
    found = made.tables.enrichment(made.view)
    p = 10.0 ** found.statistics.log10_p.double().numpy()
    tested = np.isfinite(p)
    q = np.full_like(p, np.nan)
    q[tested] = stats.false_discovery_control(p[tested])
    facts = facts_of(made, 3)
    assert {one.side for one in facts.sets} == {"promoted", "suppressed"}
    for one in facts.sets:
        column = found.sets.index(one.set)
        assert 10**one.log10_q == pytest.approx(q[3, column], rel=1e-4)
        assert one.t == pytest.approx(found.statistics.t[3, column].item())
        assert one.significant == (q[3, column] <= FALSE_DISCOVERY_RATE)
    counted = (q <= FALSE_DISCOVERY_RATE) & (found.statistics.t.numpy() > 0)
    assert found.best["n_promoted"].tolist() == counted.sum(1).tolist()


def facts_of(found, feature):
    return from_rows(found.tables.rows_of(found.view, feature), study="", hook="", feature=feature)


def test_a_page_says_what_the_mean_is_relative_to(made, tiny_study):
    facts = facts_of(made, 3)
    assert facts.moments["mean"] == 0 and [note for note in facts.notes if "centred" in note]
    assert 0 < abs(made.logit_distr().loc[3, "mean"]) < 1e-6  # rounding
    raw = examples.analyzer(tiny_study, "raw bridge")
    facts = facts_of(raw, 3)
    assert facts.moments["mean"] == raw.logit_distr().loc[3, "mean"] != 0
    assert not [note for note in facts.notes if "centred" in note]


def test_local_explanations_cover_every_feature(made):
    info = made.feature_info
    assert len(info) == tiny.D_SAE and str(info.coverage) == f"{tiny.D_SAE} of {tiny.D_SAE} features"
    assert {record["explanationModelName"] for record in info.values()} == {LOCAL_MODEL}
    assert made.feature_info is info and info.every(0) == (info[0],) and info[np.int64(2)] == info[2]


@pytest.mark.parametrize("feature", [-1, tiny.D_SAE, 1.5, "0", True, None])
def test_a_feature_that_there_is_not_is_refused(made, feature):
    with pytest.raises(FsrlError, match="feature"):
        made.get_feature_page(feature)
    if feature is not True:
        with pytest.raises(KeyError, match=rf"the SAE has features 0 to {tiny.D_SAE - 1}"):
            made.feature_info[feature]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"precison": "fp32"}, "did you mean 'precision'"),
        ({"explanations": "gpt"}, "choose neuronpedia or local"),
        ({"explanations": "neuronpedia"}, "is not at Neuronpedia"),
        ({"neuronpedia": "blocks.7.hook_resid_pre"}, "cannot be a"),
        ({"neuronpedia": "gpt2-small/blocks.7.hook_resid_pre"}, "is a hook name"),
    ],
)
def test_wrong_settings_are_refused_by_name(made, settings, said):
    with pytest.raises(FsrlError, match=said):
        SAEfeatureAnalyzer(made.sae_model, **settings)


def test_a_folder_is_a_study_only_with_more_than_the_model_in_it(tmp_path):
    (tmp_path / "model").mkdir()
    model = SimpleNamespace(cfg=SimpleNamespace(model_name=str(tmp_path / "model")))
    assert analyzer_weights.study_folder(model) is None
    (tmp_path / analyzer_weights.TEXT).touch()
    assert analyzer_weights.study_folder(model) == tmp_path
    assert analyzer_weights.beside_model(model, analyzer_weights.TEXT) == tmp_path / analyzer_weights.TEXT
    assert analyzer_weights.beside_model(model, analyzer_weights.COUNTS) is None


@pytest.mark.parametrize(("device", "expected"), [("cpu", "cpu"), ("cuda:0", "cuda:0"), ("mps", "cpu")])
def test_moments_are_computed_where_the_model_is_if_it_has_float64_there(device, expected):
    assert analyzer_tables.TableSettings.of({}, torch.device(device)).device == expected


def test_wrong_views_and_models_are_refused(made):
    with pytest.raises(FsrlError, match="did you mean 'tokens'"):
        made.logit_distr(token="trained")
    with pytest.raises(FsrlError, match="choose all or trained"):
        made.logit_distr(tokens="some")
    with pytest.raises(FsrlError, match="give HookedModel"):
        SAEfeatureAnalyzer(made.sae_model.model)


def test_the_name_of_a_folder_cannot_write_to_the_screen_or_break_a_figure(tiny_study, tmp_path):
    study = shutil.copytree(tiny_study, tmp_path / "a\n\x1b[31mred")
    found = examples.analyzer(study)
    for shown in (repr(found), repr(found.sae_model), repr(found.sae_model.sae_adapter), found.name):
        assert shown.isprintable() and "\\x1b[31mred" in shown
    found.plot_logit_distr_skewness(save_path=tmp_path / "z.svg")
    ElementTree.parse(tmp_path / "z.svg")
    assert "a \\x1b[31mred" in (tmp_path / "z.svg").read_text()
