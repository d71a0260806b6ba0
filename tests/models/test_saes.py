"""SAEs read whole: as SAELens saved them, what it leaves out folded in, and what is wrong with a file."""

import json
from contextlib import suppress
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file

from fsrl.errors import FsrlError
from fsrl.models import decoder_rows, sae_lookup, saes
from fsrl.models.sae_files import SAEFiles
from tests.fixtures.adapter_examples import D_IN, D_SAE, activations, make_sae
from tests.fixtures.sae_examples import OPTIONS, saved


def edit(files, **keys):
    """Set keys of cfg.json."""
    files.config.write_text(json.dumps(json.loads(files.config.read_text()) | keys))
    return files


def edit_tensors(files, **tensors):
    """Set tensors of the weights, or take away those that are None."""
    found = load_file(files.weights) | tensors
    save_file({name: tensor for name, tensor in found.items() if tensor is not None}, files.weights)
    return files


@pytest.mark.parametrize(("architecture", "options"), OPTIONS)
def test_an_sae_is_read_as_sae_lens_saved_it(architecture, options, tmp_path):
    sae = make_sae(architecture, **options)
    read = saes.load(saved(sae, tmp_path))
    assert set(read.sae.state_dict()) == set(sae.state_dict()) and read.scaling == 1
    assert all(torch.equal(tensor, sae.state_dict()[name]) for name, tensor in read.sae.state_dict().items())
    assert read.sae.cfg.to_dict() == sae.cfg.to_dict()


def test_a_finetuning_factor_scales_the_rows(tmp_path):
    files, factor = saved(make_sae(), tmp_path), torch.linspace(0.5, 3, D_SAE)
    W_dec = load_file(files.weights)["W_dec"]
    edit_tensors(edit(files, finetuning_scaling_factor=True), scaling_factor=factor)
    assert torch.equal(decoder_rows.decoder_rows(saes.load(files).sae), factor[:, None] * W_dec)


def test_a_finetuning_factor_of_ones_is_none(tmp_path):
    files = edit_tensors(saved(make_sae(), tmp_path), scaling_factor=torch.ones(D_SAE))
    for said in (True, False):
        sae = saes.load(edit(files, finetuning_scaling_factor=said)).sae
        assert torch.equal(sae.W_dec, load_file(files.weights)["W_dec"])


@pytest.mark.parametrize("said", [None, False])
def test_a_finetuning_factor_that_the_configuration_denies_is_refused(tmp_path, said):
    files = edit_tensors(saved(make_sae(), tmp_path), scaling_factor=torch.linspace(0.5, 3, D_SAE))
    with pytest.raises(FsrlError, match=r"sae_weights.safetensors.*finetuning_scaling_factor is False"):
        saes.load(files if said is None else edit(files, finetuning_scaling_factor=said))


def test_a_promised_finetuning_factor_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FsrlError, match=r"cfg.json: finetuning_scaling_factor is true, but .* no tensor"):
        saes.load(edit(saved(make_sae(), tmp_path), finetuning_scaling_factor=True))


def test_the_norm_of_a_checkpoint_is_folded_in(tmp_path):
    """A checkpoint of SAELens' trainer keeps the factor in a file of its own: a unit adds W_dec / factor."""
    from sae_lens.training.activation_scaler import ActivationScaler

    sae, x = make_sae(normalize_activations="expected_average_only_in"), activations(3)
    files = saved(sae, tmp_path)
    ActivationScaler(scaling_factor=0.25).save(str(files.weights.with_name("activation_scaler.json")))
    read = saes.load(files)
    assert read.scaling == 0.25 and read.config["normalize_activations"] == "none"
    assert torch.equal(decoder_rows.decoder_rows(read.sae), sae.W_dec / 0.25)
    torch.testing.assert_close(read.sae.encode(x), sae.encode(x * 0.25))


def test_the_whitening_of_a_checkpoint_is_folded_in(tmp_path):
    from sae_lens.training.activation_scaler import ActivationScaler, ActivationWhitening

    sae, x = make_sae(normalize_activations="covariance_whitening"), activations(3)
    files = saved(sae, tmp_path)
    matrix = torch.randn(D_IN, D_IN, generator=torch.Generator().manual_seed(3)).double()
    whitening = ActivationWhitening(torch.randn(D_IN).double(), matrix, matrix.inverse())
    scaler = ActivationScaler(whitening=whitening)
    scaler.save(str(files.weights.with_name("activation_scaler.json")))
    read = saes.load(files).sae
    expected = sae.W_dec.double() @ matrix.inverse()
    torch.testing.assert_close(decoder_rows.decoder_rows(read).double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(read.encode(x), sae.encode(scaler.scale(x)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["expected_average_only_in", "covariance_whitening"])
@pytest.mark.parametrize("scaler", [None, "{}", '{"scaling_factor": null}', "[1]"])
def test_an_unknown_norm_of_the_activations_is_refused(tmp_path, kind, scaler):
    files = saved(make_sae(normalize_activations=kind), tmp_path)
    if scaler is not None:
        files.weights.with_name("activation_scaler.json").write_text(scaler)
    name = "activation_scaler.json: cannot be read" if scaler in ("{}", "[1]") else f"cfg.json: .* is {kind}"
    with pytest.raises(FsrlError, match=name):
        saes.load(files)


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [("temporal", "expected_average_only_in"), ("matching_pursuit", "covariance_whitening")],
)
def test_a_norm_that_sae_lens_cannot_fold_is_blamed_on_the_configuration(tmp_path, architecture, kind):
    from sae_lens.training.activation_scaler import ActivationScaler, ActivationWhitening

    files = saved(make_sae(architecture, normalize_activations=kind), tmp_path)
    whitening = None
    if kind == "covariance_whitening":
        whitening = ActivationWhitening(torch.zeros(D_IN), torch.eye(D_IN), torch.eye(D_IN))
    scaler = ActivationScaler(None if whitening else 0.25, whitening)
    scaler.save(str(files.weights.with_name("activation_scaler.json")))
    with pytest.raises(FsrlError, match=rf"cfg.json: .*cannot fold .* of a {architecture} SAE; give"):
        saes.load(files)


@pytest.mark.parametrize("factor", ['"big"', "0", "-2", "NaN", "true"])
def test_a_norm_that_is_no_number_above_0_is_refused(tmp_path, factor):
    files = saved(make_sae(normalize_activations="expected_average_only_in"), tmp_path)
    files.weights.with_name("activation_scaler.json").write_text(f'{{"scaling_factor": {factor}}}')
    with pytest.raises(FsrlError, match="activation_scaler.json: scaling_factor is .*give a number above 0"):
        saes.load(files)


@pytest.mark.parametrize("name", ["W_enc", "W_dec", "b_enc", "b_dec", "threshold"])
def test_every_tensor_must_be_there_and_finite(tmp_path, name):
    files = saved(make_sae("jumprelu"), tmp_path)
    stored = load_file(files.weights)
    bad = stored[name].clone()
    bad[-1] = float("nan")
    with pytest.raises(FsrlError, match=rf"sae_weights.safetensors: {name}: nan at .*save the SAE again"):
        saes.load(edit_tensors(files, **{name: bad}))
    with pytest.raises(FsrlError, match=rf"a jumprelu SAE \(missing: {name}\).* save the SAE"):
        saes.load(edit_tensors(files, **{name: None}))
    shape = (
        r"W_dec has shape \[3\], but"
        if name == "W_dec"
        else rf"\(left over: extra; of another shape: {name} \[3\], not \["
    )
    with pytest.raises(FsrlError, match=shape):
        saes.load(edit_tensors(files, extra=torch.ones(3), **{name: torch.ones(3)}))


@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.uint8, torch.bool, torch.complex64])
@pytest.mark.parametrize("name", ["W_enc", "W_dec", "b_enc", "b_dec", "threshold", "scaling_factor"])
def test_a_tensor_that_is_no_floating_point_is_refused(tmp_path, name, kind):
    files = saved(make_sae("jumprelu"), tmp_path)
    stored = load_file(files.weights) | {"scaling_factor": torch.ones(D_SAE)}
    with pytest.raises(
        FsrlError, match=rf"weights.safetensors: not floating point: {name} \([IUBC]\w+\); save"
    ):
        saes.load(edit_tensors(files, **stored | {name: (stored[name] * 10).to(kind)}))


def test_prefixed_names_are_listed_shortly(tmp_path):
    files = saved(make_sae("jumprelu"), tmp_path)
    save_file(
        {f"_orig_mod.{name}": tensor for name, tensor in load_file(files.weights).items()}, files.weights
    )
    with pytest.raises(FsrlError, match=r"missing: .*W_dec.*; left over: .*_orig_mod.W_dec") as caught:
        saes.load(files)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500 + len(str(files.weights))


def test_a_factor_of_another_shape_is_named(tmp_path):
    files = edit(saved(make_sae(), tmp_path), finetuning_scaling_factor=True)
    with pytest.raises(FsrlError, match=r"of another shape: scaling_factor \[16\], not \[40\]"):
        saes.load(edit_tensors(files, scaling_factor=torch.full((16,), 2.0)))


def test_a_threshold_that_nothing_reaches_is_no_fault(tmp_path):
    files = saved(make_sae("jumprelu"), tmp_path)
    sae = saes.load(edit_tensors(files, threshold=torch.full((D_SAE,), torch.inf))).sae
    assert (sae.encode(activations(3)) == 0).all()


@pytest.mark.parametrize(("key", "value"), [("d_in", D_IN + 1), ("d_sae", D_SAE - 1)])
def test_a_configuration_of_another_shape_is_refused(tmp_path, key, value):
    with pytest.raises(FsrlError, match=r"weights.safetensors: W_dec has shape \[40, 16\].*cfg.json are \["):
        saes.load(edit(saved(make_sae(), tmp_path), **{key: value}))


def test_another_architecture_is_refused(tmp_path):
    names = r"gated SAE \(missing: b_gate, r_mag, b_mag; left over: b_enc\); correct the architecture"
    with pytest.raises(FsrlError, match=names):
        saes.load(edit(saved(make_sae(), tmp_path), architecture="gated"))


def test_weights_are_float32_whatever_they_are_stored_in(tmp_path):
    sae = make_sae().half()
    files = saved(sae, tmp_path)
    read = saes.load(files)
    assert read.sae.W_dec.dtype == torch.float32 and read.config["dtype"] == "float32"
    assert torch.equal(read.sae.W_dec, sae.W_dec.float())
    assert torch.equal(decoder_rows.decoder_rows(sae), sae.W_dec.float())


@pytest.mark.parametrize("row", [0.0, 1e-39])
def test_a_row_without_a_norm_to_divide_by_is_named(tmp_path, row):
    """SAELens divides by it, and all that it decodes is then NaN; without rescaling the feature is dead."""
    files = saved(make_sae("topk", rescale_acts_by_decoder_norm=True), tmp_path)
    W_dec = load_file(files.weights)["W_dec"]
    W_dec[3] = row
    edit_tensors(files, W_dec=W_dec)
    with pytest.raises(FsrlError, match="weights.safetensors: W_dec of feature 3 is zero, .*decoder_norm"):
        saes.load(files)
    plain = saes.load(edit(files, rescale_acts_by_decoder_norm=False)).sae
    assert torch.equal(decoder_rows.decoder_rows(plain), W_dec)


def densities(tmp_path, values):
    files = saved(make_sae(), tmp_path)
    save_file({"sparsity": torch.as_tensor(values)}, tmp_path / "ours/sparsity.safetensors")
    return saes.densities(SAEFiles.of(files.source, "ours"), D_SAE)


def test_a_dead_feature_and_one_of_unknown_density_stop_nothing(tmp_path):
    values = torch.linspace(-9, 0, D_SAE)
    values[:3] = torch.tensor([-torch.inf, torch.nan, -12.0])
    found = densities(tmp_path, values)
    assert found[0] == saes.NEVER and found[1].isnan() and torch.equal(found[2:], values[2:])


def test_a_density_below_float32_is_of_a_feature_that_never_fired(tmp_path):
    assert (densities(tmp_path, torch.full((D_SAE,), -1e300, dtype=torch.float64)) == saes.NEVER).all()


@pytest.mark.parametrize("kind", [torch.complex64, torch.int64, torch.bool])
def test_densities_that_are_no_floating_point_are_refused(tmp_path, kind):
    with pytest.raises(FsrlError, match=rf"sparsity.safetensors: sparsity holds {kind}; give log10"):
        densities(tmp_path, torch.zeros(D_SAE).to(kind))


@pytest.mark.parametrize("values", [torch.rand(D_SAE) + 0.01, torch.full((D_SAE,), torch.inf)])
def test_shares_that_are_no_logarithms_are_refused(tmp_path, values):
    with pytest.raises(FsrlError, match=r"sparsity.safetensors: sparsity is .*log10 of a share is at most"):
        densities(tmp_path, values)


@pytest.mark.parametrize("fails", [False, True])
def test_functions_that_stand_in_leave_a_module_as_it_was(fails):
    module = ModuleType("module")
    module.first, module.second = own = object(), object()
    with suppress(ZeroDivisionError), sae_lookup._standing_in(module, first=len):
        assert (module.first, module.second) == (len, own[1])
        assert not fails or 1 / 0
    assert (module.first, module.second) == own


def test_nothing_stands_in_where_a_module_has_no_such_name():
    module = ModuleType("module")
    module.first = own = object()
    with (
        pytest.raises(AttributeError, match="second"),
        sae_lookup._standing_in(module, first=len, second=len),
    ):
        pass
    assert module.first is own and not hasattr(module, "second")
