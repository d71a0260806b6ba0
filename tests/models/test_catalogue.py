"""Every release that SAELens lists: read by name, supported or refused for a reason that the docs list."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from fsrl.models import catalogue, fit, releases
from fsrl.models.sources import ModelSource, SAESource
from fsrl.tables import core as tables
from fsrl.tables.releases import RELEASES
from tests.fixtures import architectures
from tests.fixtures.sae_directory import WHOLE

ROOT = Path(__file__).parents[2]
DOCS = " ".join((ROOT / "config/README.md").read_text().split())
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
READY = {
    "pythia-70m-res": ("EleutherAI/pythia-70m-deduped", 7),
    "pythia-70m-mlp": ("EleutherAI/pythia-70m-deduped", 6),
    "pythia-70m-att": ("EleutherAI/pythia-70m-deduped", 6),
    "gemma-2-2b": ("google/gemma-2-2b", 26),
    "gemma-3-270m": ("google/gemma-3-270m", 18),
    "gemma-3-270m-transcoders": ("google/gemma-3-270m", 18),
    "gemma-3-1b": ("google/gemma-3-1b-pt", 26),
    "llama-3.1-8b": ("meta-llama/Llama-3.1-8B", 1),
    "qwen3-1.7b": ("Qwen/Qwen3-1.7B-Base", 4),
}
# What the names mean, as the repositories' pages and papers say (see shared facts for GPT-2's).
KNOWN_WIDTHS = {
    "gpt2-small-res-jb-feature-splitting": [768 * 2**n for n in range(8)],
    "gpt2-small-hook-z-kk": [24576] * 5 + [49152] + [24576] + [49152] + [24576] * 4,
    "gpt2-small-resid-post-v5-32k": [32768] * 12,
    "gpt2-small-attn-out-v5-128k": [131072] * 12,
    "gpt2-small-mlp-tm": [24576] * 12,
    "llama_scope_lxm_8x": [32768] * 32,
    "llama_scope_lxr_32x": [131072] * 32,
    "qwen-scope-3.5-27b-w80k-l50": [81920] * 64,
    "saebench_gemma-2-2b_width-2pow16_date-0107": [65536] * 6,
    "gemma-2b-res-jb": [16384] * 5,
    "gemma-2-2b-res-matryoshka-dc": [32768] * 25,
    "gpt2-small-res-jb": [24576] * 13,
    "pythia-70m-deduped-res-sm": [32768] * 7,
    "llama-3-8b-it-res-jh": [65536],
    "gpt2-small-res_sce-ajt": [46080] * 3,
    "mistral-7b-res-wg": [65536] * 3,
    "mntss-gemma-2-2b-2.5m-clt-as-per-layer": [98304] * 26,
    "temporal-sae-gemma-2-2b": [None],
}


# model_type in config.json of the models that the releases are of. Gemma 3 from 4B on sees images too.
MODEL_TYPES = {
    "gpt2": "gpt2",
    "EleutherAI/pythia-70m-deduped": "gpt_neox",
    "mistralai/Mistral-7B-v0.1": "mistral",
    **dict.fromkeys(("google/gemma-2b", "google/gemma-2b-it"), "gemma"),
    **dict.fromkeys([f"google/gemma-2-{size}" for size in ("2b", "9b", "9b-it", "27b")], "gemma2"),
    **dict.fromkeys(
        [f"google/gemma-3-{size}" for size in ("270m", "270m-it", "1b-pt", "1b-it")], "gemma3_text"
    ),
    **{f"google/gemma-3-{size}-{kind}": "gemma3" for size in ("4b", "12b", "27b") for kind in ("pt", "it")},
    **dict.fromkeys([f"meta-llama/Llama-3.1-8B{kind}" for kind in ("", "-Instruct")], "llama"),
    "meta-llama/Meta-Llama-3-8B-Instruct": "llama",
    "meta-llama/Llama-3.3-70B-Instruct": "llama",
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": "llama",
    "Qwen/Qwen2.5-7B-Instruct": "qwen2",
    **dict.fromkeys([f"Qwen/Qwen3-{size}" for size in ("0.6B", "1.7B", "4B", "8B", "14B")], "qwen3"),
    **dict.fromkeys([f"Qwen/Qwen3-{size}-Base" for size in ("1.7B", "8B")], "qwen3"),
    "Qwen/Qwen3-30B-A3B-Base": "qwen3_moe",
}


@pytest.fixture(scope="module")
def table():
    studies = {name: study["saes"].get("release") for name, study in CONFIG["studies"].items()}
    return catalogue.frame({name: release for name, release in studies.items() if release})


def test_every_release_is_supported_or_refused_for_a_listed_reason(table):
    """From the directory alone, so before anything is fetched."""
    assert list(table["release"]) == list(WHOLE) and len(table) == 170
    for row in table.itertuples():
        assert row.supported is pd.isna(row.why_not)
        if not row.supported:
            assert row.why_not in catalogue.REASONS.values()
    assert table["supported"].sum() >= 150
    refused = dict(table[~table["supported"]].groupby("model").size())
    assert refused == {
        "openai/gpt-oss-20b": 1,
        **dict.fromkeys(("Qwen/Qwen3.5-2B-Base", "Qwen/Qwen3.5-9B-Base", "Qwen/Qwen3.5-27B"), 2),
        "Qwen/Qwen3.5-35B-A3B-Base": 2,
    }


def test_a_supported_release_is_of_a_model_whose_kind_is_tried(table):
    """Tiny models of each kind are read, and their own logits found again (test_head.py, test_part.py)."""
    models = set(table[table["supported"]]["model"])
    assert models == set(MODEL_TYPES)
    assert set(MODEL_TYPES.values()) <= architectures.model_types()
    assert not models & set(catalogue.REFUSED_MODELS)


def test_the_docs_say_why_a_release_is_refused(table):
    for reason in catalogue.REASONS.values():
        assert reason in DOCS, reason
    supported, listed = re.search(r"(\d+) of the (\d+) releases", DOCS).groups()
    assert (int(supported), int(listed)) == (table["supported"].sum(), len(table))


@pytest.mark.parametrize("name", list(WHOLE))
def test_a_release_has_its_files_named(name):
    """What SAELens would ask for: the repository, and of each SAE the weights under its own path."""
    source, entry = SAESource(release=name), WHOLE[name]
    files = source.hub_files()
    assert {file.repo for file in files} == {entry["repo_id"]}
    layout = entry.get("conversion_func") or releases.SAE_LENS
    assert source.listed.layout == layout
    if layout != releases.CLT:
        assert list(source.sae_ids) == [sae["id"] for sae in entry["saes"]]
    paths = {str(sae["path"]) for sae in entry["saes"]}
    for sae_id in source.sae_ids:
        assert source.listed.path(sae_id) in paths
        assert source.listed.path(sae_id) in source.weights_file(sae_id).path
        assert source.weights_file(sae_id) in files
    named = "transcoder" in name or "clt" in name
    assert bool(source.transcoders()) is named and source.listed.transcoders is named


def test_models_are_called_as_the_hub_calls_them():
    """TransformerLens' table of names is the oracle, where it knows them."""
    for name, entry in WHOLE.items():
        model = catalogue.model_of(name)
        assert "/" in model or model == "gpt2"
        ModelSource(hub=model)
        given = catalogue.CORRECTED.get(name, entry["model"])
        assert (fit.official_name(given) or given) == model
        assert model in catalogue.WIDTHS


def test_known_widths_are_sae_lens_own():
    from sae_lens.loading import pretrained_sae_loaders as loaders

    for model, width in loaders.QWEN_SCOPE_MODEL_INFO.values():
        assert catalogue.WIDTHS[model] == width
    for repo, model in (("gemma-scope-2b-pt-res", "2-2b"), ("gemma-scope-9b-it-res", "2-9b-it")):
        found = loaders.get_gemma_2_config_from_hf(repo, "layer_3/width_16k/x", "cpu")
        assert catalogue.WIDTHS[f"google/gemma-{model}"] == found["d_in"]
        assert found["model_name"] == f"gemma-{model}"


@pytest.mark.parametrize("name", KNOWN_WIDTHS)
def test_names_tell_how_wide_a_dictionary_is(name):
    assert catalogue.widths(name) == KNOWN_WIDTHS[name]


def test_published_widths_stand_for_silent_names_alone(monkeypatch):
    published = dict(catalogue.PUBLISHED_WIDTHS)
    monkeypatch.setattr(catalogue, "PUBLISHED_WIDTHS", {})
    for name in published:
        assert set(catalogue.widths(name)) == {None}, name


def test_a_loader_s_own_width_is_ours():
    from sae_lens.loading.pretrained_sae_loaders import get_goodfire_config_from_hf

    named = [name for name in catalogue.PUBLISHED_WIDTHS if name.startswith("goodfire")]
    assert len(named) == 2
    for name in named:
        entry = WHOLE[name]
        found = get_goodfire_config_from_hf(entry["repo_id"], entry["saes"][0]["path"], "cpu")
        assert catalogue.widths(name) == [found["d_sae"]]


def test_widths_are_those_that_sae_lens_reads_from_the_names():
    """Where its loader knows them from the path alone."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    for name, entry in WHOLE.items():
        if entry.get("conversion_func") not in ("gemma_2", "gemma_2_transcoder", "qwen_scope"):
            continue
        getter = loaders.NAMED_PRETRAINED_SAE_CONFIG_GETTERS[entry["conversion_func"]]
        expected = [
            getter(entry["repo_id"], sae["path"], "cpu", False, None)["d_sae"] for sae in entry["saes"]
        ]
        assert catalogue.widths(name) == expected, name


def test_a_size_is_that_of_encoders_and_decoders(table):
    sizes = table.set_index("release")["float32_gb"]
    assert sizes["gpt2-small-resid-post-v5-32k"] == round(12 * 2 * 768 * 32768 * 4 / 1e9, 1)
    assert sizes["gpt2-small-res-jb"] == round(13 * 2 * 768 * 24576 * 4 / 1e9, 1)
    unknown = ["temporal-sae-gemma-2-2b", "gemma-scope-2b-pt-att", "gemma-scope-2-1b-pt-att-all"]
    assert sizes[unknown].isna().all()


def test_a_layout_that_is_not_read_is_refused_with_the_reason(monkeypatch):
    monkeypatch.delitem(releases.LAYOUTS, "goodfire")
    table = catalogue.frame().set_index("release")
    row = table.loc["goodfire-llama-3.1-8b-instruct"]
    assert not row["supported"] and row["why_not"] == catalogue.REASONS["layout"] and row["saes"] == 1


def test_the_table_is_written_and_printed(table, tmp_path):
    tables.write(table, tmp_path / "releases.parquet", RELEASES, {})
    read = tables.read(tmp_path / "releases.parquet", RELEASES)
    head, *lines, last = catalogue.lines(read)
    assert head.split() == ["release", "model", "SAEs", "d_sae", "GB", "Neuronpedia", "supported"]
    found = {line.split()[0]: line for line in lines}
    assert {line[head.index("model") - 1 : head.index("model")] for line in lines} == {" "}
    assert re.search(r"gpt2 +12 +24576 49152 +2.1 +12 +yes$", found["gpt2-small-hook-z-kk"])
    assert re.search(r"gpt2 +13 +24576 +2.0 +13 +yes$", found["gpt2-small-res-jb"])
    assert found["gpt-oss-20b-andyrdt"].endswith(f"no: {catalogue.REASONS['quantised']}")
    assert last == f"{table['supported'].sum()} of 170 releases are supported"
    assert (
        catalogue.shown(read).set_index("release")["studies"]["gemma-scope-2b-pt-res-canonical"]
        == "gemma-2-2b"
    )


@pytest.mark.parametrize("study", READY)
def test_a_ready_study_names_a_supported_release_and_its_model(study, table):
    entry, (model, count) = CONFIG["studies"][study], READY[study]
    source = SAESource.from_settings(entry["saes"])
    assert entry["model"] == {"hub": model} and len(source.sae_ids) == count
    row = table.set_index("release").loc[entry["saes"]["release"]]
    assert row["supported"] and row["model"] == model and study in row["studies"]
    assert study not in CONFIG["run"]
    assert len(set(source.sae_ids)) == count and source.hub_files()


def test_every_study_of_a_release_is_of_its_model():
    for study in CONFIG["studies"].values():
        if release := study["saes"].get("release"):
            assert study["model"].get("hub") == catalogue.model_of(release)
