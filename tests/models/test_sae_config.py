"""Every row of the table in `fsrl.models.sae_config`: what is read, and what is refused."""

import json
import logging
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from fsrl import SAEAdapter
from fsrl.errors import FsrlError
from fsrl.models import decoder_rows, dictionaries, reading, sae_config
from fsrl.models.sources import ModelSource, SAESource
from tests.fixtures import tiny_study as tiny
from tests.fixtures.adapter_examples import D_SAE, make_sae

HOOK = "blocks.1.hook_resid_pre"
# As SAELens wrote it before version 6: all keys at the top.
OLD = {"d_in": 16, "d_sae": D_SAE, "dtype": "float32", "model_name": "gpt2", "hook_name": HOOK}
# Key by key: what the file says, what the line must say.
REFUSED = (
    ({"architecture": "transformer"}, "architecture is 'transformer', which SAELens"),
    ({"architecture": "batchtopk"}, "'batchtopk', which SAELens trains, .*save_inference_model"),
    ({"architecture": "Standard"}, "which SAELens does not know; did you mean 'standard'.; give one of"),
    ({"architecture": ["standard"]}, r"architecture is \['standard'\]; give a name"),
    ({"architecture": None}, "no architecture; give one of standard, gated"),
    (
        {"architecture": "transcoder"},
        "a transcoder that does not say where it writes; give its",
    ),
    ({"d_in": "16"}, "d_in is '16'; give a whole number"),
    ({"d_sae": -3}, "d_sae is -3; give a whole number"),
    ({"d_sae": None}, "d_sae is None; give a whole number"),
    ({"architecture": "topk"}, "k is None and d_sae 40"),
    ({"architecture": "topk", "k": 41}, "k is 41 and d_sae 40"),
    ({"architecture": "abstopk", "k": 6.5}, "k is 6.5 and d_sae 40"),
    (
        {"activation_fn": "tanh-relu"},
        "activation_fn is 'tanh-relu', and SAELens runs a standard SAE with relu",
    ),
    ({"activation_fn_str": "topk"}, "activation_fn is 'topk'"),
    ({"activation_fn_kwargs": {"tanh_alpha": 2}}, "activation_fn_kwargs is .*tanh_alpha"),
    ({"activation_fn_kwargs": "k=3"}, "activation_fn_kwargs is 'k=3'"),
    ({"architecture": "matching_pursuit", "residual_threshold": "low"}, "residual_threshold is 'low'; give"),
    ({"architecture": "temporal", "activation_normalization_factor": float("nan")}, "factor is nan; give a"),
    ({"architecture": "temporal", "kval_topk": 0}, "kval_topk is 0; give a whole number"),
    ({"apply_b_dec_to_input": "false"}, "apply_b_dec_to_input is 'false'; give true or false"),
    ({"rescale_acts_by_decoder_norm": 1}, "rescale_acts_by_decoder_norm is 1; give true or false"),
    ({"finetuning_scaling_factor": 3.0}, "finetuning_scaling_factor is 3.0; give true or false"),
    ({"finetuning_scaling_factor": True}, "finetuning_scaling_factor is true, but .* no tensor"),
    ({"normalize_activations": None}, "normalize_activations is null; give its value, or leave it out"),
    ({"apply_b_dec_to_input": None}, "apply_b_dec_to_input is null"),
    ({"architecture": "matching_pursuit", "residual_threshold": None}, "residual_threshold is null"),
    ({"normalize_activations": "max"}, "normalize_activations must be none, .* Got max"),
    ({"normalize_activations": "expected_average_only_in"}, "what it scales activations by is not known"),
    ({"reshape_activations": "heads"}, "reshape_activations is 'heads'"),
    (
        {"reshape_activations": "hook_z"},
        "reshape_activations is hook_z, and hook_name 'blocks.1.hook_resid_pre'",
    ),
    ({"metadata": [1]}, r"metadata is \[1\], expected an object"),
    ({"metadata": []}, r"metadata is \[\], expected an object"),
)
REFUSED_METADATA = (
    ({"hook_name": 3}, "hook_name is 3; give a name"),
    ({"model_name": ["gpt2"]}, r"model_name is \['gpt2'\]; give a name"),
    ({"hook_layer": 0}, "hook_layer is 0 and hook_name 'blocks.1.hook_resid_pre'"),
    ({"hook_point_layer": 2}, "hook_layer is 2"),
    (
        {"hook_point": "blocks.0.hook_resid_pre"},
        "hook_name is .* and hook_point is 'blocks.0.hook_resid_pre'",
    ),
    ({"hook_head_index": 0}, "hook_head_index is 0, the SAE of a single head"),
    ({"hook_head_index_out": 2}, "hook_head_index_out is 2"),
    (
        {"hook_name_out": "blocks.1.hook_mlp_out"},
        "reads blocks.1.hook_resid_pre and writes blocks.1.hook_mlp_out",
    ),
    ({"model_from_pretrained_kwargs": "raw"}, "model_from_pretrained_kwargs is 'raw'"),
    ({"model_from_pretrained_kwargs": {"center_writing_weights": "no"}}, "center_writing_weights is 'no'"),
    ({"model_from_pretrained_kwargs": {"checkpoint_index": 0}}, "with checkpoint_index=0, another one"),
    ({"model_from_pretrained_kwargs": {"revision": "step1000"}}, "with revision='step1000', another one"),
    ({"sae_lens_version": "banana"}, "sae_lens_version is 'banana'"),
    ({"sae_lens_version": "5.11.0"}, "metadata and sae_lens_version 6 come together"),
    ({"sae_lens_version": None}, "metadata and sae_lens_version 6 come together"),
)
REFUSED_OLD = (
    ({"activation_fn_str": "tanh-relu"}, "activation_fn is 'tanh-relu'"),
    ({"activation_fn_str": "relu", "activation_fn": "topk"}, "activation_fn is 'topk' and activation_fn_str"),
    ({"activation_fn_str": "topk"}, "k is None"),
    ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 6, "signed": True}}, "signed"),
    ({"architecture": "gated", "activation_fn_str": "topk"}, "SAELens runs a gated SAE with relu"),
    ({"hook_point_layer": 5}, "hook_layer is 5"),
    ({"hook_point_head_index": 5}, "hook_head_index is 5"),
    ({"sae_lens_version": "6.0.0"}, "metadata and sae_lens_version 6 come together"),
)
# What other libraries and older versions call it: refused in every version, at either level.
REFUSED_ANYWHERE = (
    ({"activation": "tanh"}, "activation_fn is 'tanh'"),
    ({"activation_function": "gelu"}, "activation_fn is 'gelu'"),
    ({"nonlinearity": "tanh"}, r"activation_fn is 'tanh' \(nonlinearity\), and SAELens runs"),
    ({"nonlinearity": ["relu"]}, r"activation_fn is \['relu'\]"),
    ({"jump_relu_threshold": 0.1}, "jump_relu_threshold is given"),
    ({"is_transcoder": True}, "is_transcoder is True, which is of a transcoder"),
    ({"transcoder": True}, r"is_transcoder is True \(transcoder\), which"),
    (
        {"out_hook_point": "blocks.1.hook_mlp_out"},
        "reads blocks.1.hook_resid_pre and writes blocks.1.hook_mlp",
    ),
    ({"out_hook_point_layer": 0}, "hook_layer_out is 0"),
    ({"d_out": 17}, "d_out is 17"),
    ({"hf_hook_name_out": "model.layers.1.mlp"}, "hf_hook_name_out is 'model.layers.1.mlp'"),
    ({"training_architecture": "skip_transcoder"}, "trained as a transcoder"),
    ({"model_class_name": "HookedMamba"}, "model_class_name is 'HookedMamba'"),
    ({"model_from_pretrained_kwargs": {"rope_scaling": {"factor": 8}}}, "rope_scaling="),
    ({"model_from_pretrained_kwargs": {"adapter": "x"}}, "with adapter='x', another one"),
    ({"model_from_pretrained_kwargs": {"load_in_4bit": True}}, "load_in_4bit=True"),
)
# The same keys with a value that says nothing else than the SAE does.
HARMLESS = {
    "activation": "ReLU",
    "is_transcoder": False,
    "out_hook_point": HOOK,
    "hook_layer_out": 1,
    "d_out": 16,
    "model_class_name": "HookedTransformer",
    "model_from_pretrained_kwargs": {"load_in_4bit": False},
}
BROKEN = {
    b"[1]": r"holds \[1\], expected an object",
    b"null": "holds None, expected an object",
    b"\xff\xfe{}": "cannot be read as JSON",
    b"": "cannot be read as JSON",
    b'{"d_in": 16,': "cannot be read as JSON",
    b"[" * 100_000: "cannot be read as JSON",
    b"\xef\xbb\xbf{}": "begins with a byte order mark; save it as UTF-8 without one",
    b'{"d_in": 16, "d_in": 17}': "d_in is given twice; keep one",
}


@pytest.fixture(scope="module")
def model(tiny_study):
    return reading.read_model(ModelSource(folder=str(tiny_study / "model")))


@pytest.fixture
def folder(tmp_path):
    """One SAE as SAELens saves it; its cfg.json may be changed."""
    make_sae().save_model(tmp_path / "ours")
    return tmp_path


def say(folder, inside=None, **keys):
    """Change what cfg.json says, inside its metadata and at the top."""
    path = folder / "ours/cfg.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"metadata": config["metadata"] | (inside or {})} | keys))


def put(folder, level, keys):
    """Say it in a file of an older version, or in one of version 6: at the top or inside metadata."""
    if level == "old":
        (folder / "ours/cfg.json").write_text(json.dumps(OLD | keys))
    else:
        say(folder, **({"inside": keys} if level == "metadata" else keys))


def decoder(folder, model):
    [found] = dictionaries.decoders(SAESource(folder=str(folder)), model, study="x")
    return found


def refused(folder, model, message):
    """Both by the workflow and by a notebook, in one line that names cfg.json."""
    for read in (lambda: decoder(folder, model), lambda: SAEAdapter.from_pretrained(folder, "ours")):
        with pytest.raises(FsrlError, match=message) as caught:
            read()
        assert "ours/cfg.json: " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("keys", "message"), REFUSED)
def test_a_key_that_would_change_the_meaning_is_refused(folder, model, keys, message):
    say(folder, **keys)
    refused(folder, model, message)


@pytest.mark.parametrize(("metadata", "message"), REFUSED_METADATA)
def test_metadata_that_would_change_the_meaning_is_refused(folder, model, metadata, message):
    say(folder, metadata)
    refused(folder, model, message)


@pytest.mark.parametrize(("keys", "message"), REFUSED_OLD)
def test_a_key_of_an_older_version_is_refused(folder, model, keys, message):
    (folder / "ours/cfg.json").write_text(json.dumps(OLD | keys))
    refused(folder, model, message)


# Keys that SAELens looks for at the other level, and what is read of the SAE.
ELSEWHERE = (
    ("topk", "metadata", {"k": 3}, lambda cfg: cfg.k == 3),
    (
        "topk",
        "metadata",
        {"rescale_acts_by_decoder_norm": True},
        lambda cfg: cfg.rescale_acts_by_decoder_norm,
    ),
    ("standard", "metadata", {"apply_b_dec_to_input": False}, lambda cfg: not cfg.apply_b_dec_to_input),
    (
        "standard",
        "metadata",
        {"normalize_activations": "layer_norm"},
        lambda cfg: "layer" in cfg.normalize_activations,
    ),
    ("matching_pursuit", "metadata", {"residual_threshold": 0.5}, lambda cfg: cfg.residual_threshold == 0.5),
    ("topk", "metadata", {"architecture": "topk"}, lambda cfg: cfg.architecture() == "topk"),
    ("standard", "metadata", {"d_in": 16, "d_sae": D_SAE}, lambda cfg: cfg.d_in == 16),
    ("standard", "top", {"prepend_bos": False}, lambda cfg: cfg.metadata.prepend_bos is False),
    ("standard", "top", {"model_name": "gpt2"}, lambda cfg: cfg.metadata.model_name == "gpt2"),
    ("standard", "top", {"hook_name": "blocks.0.hook_resid_pre"}, lambda cfg: "0" in cfg.metadata.hook_name),
    ("standard", "top", {"hook_point": "blocks.0.hook_resid_pre"}, lambda cfg: "0" in cfg.metadata.hook_name),
    (
        "standard",
        "metadata",
        {"hook_point": "blocks.0.hook_resid_pre"},
        lambda cfg: "0" in cfg.metadata.hook_name,
    ),
    (
        *("standard", "top", {"model_from_pretrained_kwargs": {"center_writing_weights": False}}),
        lambda cfg: not sae_config.processing(cfg.metadata)["center_writing_weights"],
    ),
)


@pytest.mark.parametrize(("architecture", "level", "keys", "read"), ELSEWHERE)
def test_a_key_is_read_wherever_it_stands(tmp_path, architecture, level, keys, read):
    make_sae(architecture).save_model(tmp_path / "ours")
    path = tmp_path / "ours/cfg.json"
    config = json.loads(path.read_text())
    for name in (*keys, *(["hook_name"] if "hook_point" in keys else [])):
        config.pop(name, None), config["metadata"].pop(name, None)
    (config if level == "top" else config["metadata"]).update(keys)
    path.write_text(json.dumps(config))
    assert read(SAEAdapter.from_pretrained(tmp_path, "ours")[0].sae.cfg)


def test_a_factor_is_read_wherever_it_is_said(folder, model):
    path = folder / "ours/sae_weights.safetensors"
    save_file(load_file(path) | {"scaling_factor": torch.full((D_SAE,), 3.0)}, path)
    say(folder, {"finetuning_scaling_factor": True})
    torch.testing.assert_close(decoder(folder, model).W_dec, load_file(path)["W_dec"] * 3)


@pytest.mark.parametrize(
    ("top", "inside"),
    [
        ({"normalize_activations": "none"}, {"normalize_activations": "layer_norm"}),
        ({"prepend_bos": True}, {"prepend_bos": False}),
        ({"context_size": 64}, {"context_size": 128}),
        ({"wibble": 1}, {"wibble": 2}),
        ({"hook_point": "blocks.0.hook_resid_pre"}, {}),
        ({"model_from_pretrained_kwargs": {}}, {"model_from_pretrained_kwargs": {"fold_value_biases": True}}),
    ],
)
def test_two_values_of_a_key_are_refused(folder, model, top, inside):
    say(folder, inside, **top)
    refused(
        folder,
        model,
        rf"{next(iter(top))} is .*{next(iter(inside), 'hook_name')} is .* under metadata; keep|"
        "hook_point is .* and hook_name is .* under metadata",
    )


@pytest.mark.parametrize("level", ["old", "top", "metadata"])
@pytest.mark.parametrize(("keys", "message"), REFUSED_ANYWHERE)
def test_a_key_of_another_name_is_refused(folder, model, level, keys, message):
    put(folder, level, keys)
    refused(folder, model, message)


@pytest.mark.parametrize("level", ["old", "top", "metadata"])
def test_a_key_of_another_name_that_changes_nothing_is_no_fault(folder, model, level):
    put(folder, level, HARMLESS)
    found = decoder(folder, model)
    assert torch.equal(found.W_dec, load_file(folder / "ours/sae_weights.safetensors")["W_dec"])


@pytest.mark.parametrize("level", ["old", "top", "metadata"])
def test_unknown_keys_are_named_at_every_level(folder, caplog, level):
    put(folder, level, {"wibble": 1, "l1_coefficient": 2, "model_from_pretrained_kwargs": {"n_ctx": 64}})
    with caplog.at_level(logging.WARNING):
        SAEAdapter.from_pretrained(folder, "ours")
    [said] = [record.getMessage() for record in caplog.records if "do not know" in record.getMessage()]
    assert said.endswith("ignore: wibble, n_ctx of model_from_pretrained_kwargs")


@pytest.mark.parametrize("nothing", [None, {}])
def test_an_older_file_may_say_that_it_has_no_metadata(folder, model, nothing):
    (folder / "ours/cfg.json").write_text(json.dumps(OLD | {"metadata": nothing}))
    assert decoder(folder, model).hook == HOOK


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:9]))
def test_a_file_that_is_no_configuration_is_named(folder, model, content):
    (folder / "ours/cfg.json").write_bytes(content)
    refused(folder, model, BROKEN[content])


def test_heads_in_another_basis_are_refused(tmp_path, model):
    make_sae(hook="blocks.1.attn.hook_z").save_model(tmp_path / "ours")
    say(tmp_path, {"model_from_pretrained_kwargs": {"refactor_factored_attn_matrices": True}})
    refused(tmp_path, model, "heads in another basis")


@pytest.mark.parametrize(
    "hook",
    [f"blocks.1.{name}" for name in ("attn.hook_q", "attn.hook_k", "attn.hook_v", "ln1.hook_normalized")]
    + [
        "blocks.1.mlp.hook_pre",
        "blocks.1.hook_z",
        "blocks.1.hook_mlp_in",
        "model.layers.1",
        "hook_pos_embed",
    ],
)
def test_a_hook_without_a_way_into_the_stream_has_no_decoder_and_may_be_spliced(folder, model, hook):
    say(folder, {"hook_name": hook})
    known = "known: hook_embed, blocks.N.hook_resid_pre, blocks.N.attn.hook_z, blocks.N.hook_attn_out"
    with pytest.raises(FsrlError, match=f"cfg.json: hook_name is '{hook}'.*{known}"):
        decoder(folder, model)
    assert SAEAdapter.from_pretrained(folder, "ours")[0].cfg.metadata.hook_name == hook


@pytest.mark.parametrize(
    ("hook", "message"), [(None, "no hook_name"), ("blocks.2.hook_resid_pre", "has 2 layers")]
)
def test_a_hook_that_the_model_lacks_is_refused(folder, model, hook, message):
    say(folder, {"hook_name": hook})
    with pytest.raises(FsrlError, match=message):
        decoder(folder, model)


@pytest.mark.parametrize("hook", ["blocks.0.attn.hook_z", "blocks.1.mlp.hook_post", "hook_embed"])
def test_a_hook_with_a_way_into_the_stream_is_mapped(tmp_path, model, hook):
    width = 4 * tiny.D_MODEL if "mlp" in hook else tiny.D_MODEL
    sae = make_sae(hook=hook, d_in=width)
    sae.save_model(tmp_path / "ours")
    found, rows = decoder(tmp_path, model), sae.W_dec.detach()
    if "hook_z" in hook:
        rows = rows @ model.bridge.W_O[0].reshape(-1, tiny.D_MODEL)
    elif "mlp" in hook:
        rows = rows @ model.bridge.W_out[1]
    torch.testing.assert_close(found.W_dec, rows)
    assert (found.hook, found.layer) == (hook, -1 if hook == "hook_embed" else int(hook[7]))


def test_what_is_read_is_recorded(folder, model):
    training = {"prepend_bos": False, "context_size": 64, "seqpos_slice": [1, None]}
    say(folder, training | {"exclude_special_tokens": True}, dtype="float8", device="cuda:7")
    metadata = decoder(folder, model).metadata
    assert json.loads(metadata["sae_training"]) == training | {"exclude_special_tokens": True}
    assert (
        metadata["sae_architecture"] == "standard" and metadata["decoder_units"] == "of the residual stream"
    )
    assert (metadata["decoder_rows"], metadata["decoder_scaling"]) == ("W_dec", "none")


def test_a_token_is_not_recorded(folder, model):
    say(folder, {"model_from_pretrained_kwargs": {"token": "hf_secret", "fold_ln": True}})
    said = decoder(folder, model).metadata["sae_training"]
    assert json.loads(said) == {"model_from_pretrained_kwargs": {"fold_ln": True}}


@pytest.mark.parametrize("kind", ["layer_norm", "constant_norm_rescale"])
def test_units_of_a_normalised_stream_are_recorded(folder, model, kind):
    say(folder, normalize_activations=kind)
    assert decoder(folder, model).metadata["decoder_units"].endswith(f"one by one ({kind})")


def test_rows_that_are_not_w_dec_are_recorded(tmp_path, model):
    make_sae("topk", rescale_acts_by_decoder_norm=True).save_model(tmp_path / "ours")
    found = decoder(tmp_path, model)
    torch.testing.assert_close(found.W_dec.norm(dim=1), torch.ones(D_SAE))
    assert found.metadata["decoder_rows"] == "decode(one-hot) - decode(0), not W_dec"


def test_a_factor_that_falls_on_the_features_is_not_recorded_of_the_rows(tmp_path, model):
    """A topk SAE's norms take it with them; in matching pursuit SAELens' fold leaves W_dec as it is."""
    norm = {"normalize_activations": "expected_average_only_in"}
    cases = {"standard": {}, "topk": {"rescale_acts_by_decoder_norm": True}, "matching_pursuit": {}}
    for architecture, options in cases.items():
        sae = make_sae(architecture, **options, **norm)
        plain = decoder_rows.decoder_rows(sae)
        sae.save_model(tmp_path / "ours")
        (tmp_path / "ours/activation_scaler.json").write_text('{"scaling_factor": 0.25}')
        found = decoder(tmp_path, model)
        by = 4 if architecture == "standard" else 1
        torch.testing.assert_close(found.W_dec, plain * by)
        assert found.metadata["decoder_scaling"] == ("divided by 0.25" if by == 4 else "none")


def test_a_topk_sae_of_an_older_version_is_one(folder, model):
    top = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 6}}
    (folder / "ours/cfg.json").write_text(json.dumps(OLD | top | {"hook_layer": 1, "hook_head_index": None}))
    sae, config, _ = SAEAdapter.from_pretrained(folder, "ours")
    assert config["architecture"] == "topk" and sae.cfg.k == 6
    assert decoder(folder, model).hook == HOOK


def test_unknown_keys_are_named_once(folder, caplog):
    say(folder, wibble=1, decoder_init_norm=0.1, neuronpedia_id="x")
    with caplog.at_level(logging.WARNING):
        SAEAdapter.from_pretrained(folder, "ours")
    [said] = [record.getMessage() for record in caplog.records]
    assert said.endswith("ours/cfg.json: SAELens and fsrl do not know, and ignore: wibble")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, (True, True)),
        ({}, (False, False)),
        ({"center_writing_weights": True}, (True, False)),
        ({"center_writing_weights": False}, (False, False)),
        ({"fold_value_biases": True, "fold_ln": True}, (False, True)),
    ],
)
def test_how_the_model_was_processed(given, expected):
    """SAELens processes nothing that is not asked for; where nobody says, TransformerLens' defaults hold."""
    found = sae_config.processing(SimpleNamespace(model_from_pretrained_kwargs=given))
    assert (found["center_writing_weights"], found["fold_value_biases"]) == expected


WRITES = "blocks.1.hook_mlp_out"
TRANSCODER = {"architecture": "transcoder", "d_out": 16, "apply_b_dec_to_input": False}
# What a transcoder's file says, at the top and under metadata, and what the line must say.
REFUSED_TRANSCODERS = (
    ({}, {}, "a transcoder that does not say where it writes; give its hook as hook_name_out"),
    ({"d_out": None}, {"hook_name_out": WRITES}, "d_out is"),
    (
        {"d_out": 17},
        {"hook_name_out": WRITES},
        r"W_dec has shape .*, but d_sae and d_out of .* \[40, 17",
    ),
    ({}, {"hook_name_out": WRITES, "hook_layer_out": 0}, "hook_layer_out is 0 and hook_name_out"),
    ({"normalize_activations": "layer_norm"}, {"hook_name_out": WRITES}, "scales what it reads and not what"),
    (
        {},
        {"hook_name_out": "blocks.1.mlp.hook_pre"},
        "hook_name is 'blocks.1.mlp.hook_pre', which neither",
    ),
    ({}, {"hook_name_out": "blocks.7.hook_mlp_out"}, "but .* has 2 layers"),
)


def transcoder(folder, keys, inside):
    """One as SAELens saves it, and what its file says changed."""
    settings = {name: value for name, value in TRANSCODER.items() if name != "architecture"}
    make_sae("transcoder", hook="blocks.1.ln2.hook_normalized", **settings).save_model(folder / "ours")
    say(folder, inside, **keys)


@pytest.mark.parametrize(("keys", "inside", "message"), REFUSED_TRANSCODERS)
def test_a_transcoder_whose_place_is_not_known_is_refused(tmp_path, model, keys, inside, message):
    transcoder(tmp_path, keys, inside)
    with pytest.raises(FsrlError, match=message) as caught:
        decoder(tmp_path, model)
    assert "\n" not in str(caught.value)


def test_a_transcoder_has_its_directions_where_it_writes(tmp_path, model):
    transcoder(tmp_path, {}, {"hook_name_out": WRITES})
    found = decoder(tmp_path, model)
    assert (found.hook, found.layer, found.sae) == (WRITES, 1, "ours")
    stored = load_file(tmp_path / "ours/sae_weights.safetensors")["W_dec"]
    assert torch.equal(found.W_dec, stored)
    assert found.metadata["encoder_hook"].startswith("blocks.1.ln2.hook_normalized: a transcoder")
    assert SAESource(folder=str(tmp_path)).transcoders() == ["ours"]
    with pytest.raises(FsrlError, match="give an SAE that reconstructs what it reads"):
        SAEAdapter.from_pretrained(str(tmp_path), "ours")


def test_an_sae_has_no_other_hook_in_its_metadata(folder, model):
    assert "encoder_hook" not in decoder(folder, model).metadata
    assert SAESource(folder=str(folder)).transcoders() == []
