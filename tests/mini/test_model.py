"""Training of the embedded model: data order, schedule, optimizer, resuming, evaluation."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fsrl.mini import evaluation as mini_evaluation
from fsrl.mini import export as mini_export
from fsrl.mini import model as mini_model
from fsrl.mini import saes as mini_saes
from fsrl.mini.model import N_CTX, evaluate, loss_of, new_model, windows

SETTINGS = mini_model.Training(
    steps=4,
    windows_per_step=2,
    muon_lr=0.01,
    adam_lr=0.01,
    weight_decay=0.1,
    warmup_steps=2,
    decay_share=0.5,
    seed=0,
    checkpoint_every=2,
    workers=1,
)
D_VOCAB = 50


@pytest.fixture(scope="module")
def stream():
    return np.random.default_rng(0).integers(0, D_VOCAB, size=12 * N_CTX).astype(np.uint16)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return new_model(D_VOCAB, d_model=24, n_layers=2, n_heads=2).eval()


def test_windows_predict_each_token_once_from_those_before(stream):
    inputs, targets = windows(stream, np.arange(12))
    assert targets.flatten().tolist() == stream.tolist()
    assert (inputs[:, 0] == 0).all()
    assert (inputs[:, 1:] == targets[:, :-1]).all()


def test_an_epoch_reads_every_window_once_and_the_next_in_another_order():
    epochs = [
        np.concatenate([mini_model.window_order(12 * N_CTX, step, 3, seed=5) for step in range(k, k + 4)])
        for k in (0, 4)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0].tolist() != epochs[1].tolist()


def test_the_learning_rate_rises_holds_and_falls_to_zero():
    settings = replace(SETTINGS, steps=100, warmup_steps=10, decay_share=0.4)
    rates = [mini_model.learning_rate(step, settings) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:61] == [1.0] * 52
    assert rates[80] == pytest.approx(0.5)
    assert rates[100] == 0


@pytest.mark.parametrize("shape", [(1, 8, 24), (3, 16, 16), (1, 24, 8)])
def test_orthogonalised_keeps_directions_and_levels_singular_values(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found = mini_model.orthogonalised(matrices)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.3
    assert values.max() < 1.3
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    # The same singular directions: U^T X V is diagonal.
    diagonal = u.mT @ found @ vh.mT
    assert (diagonal - torch.diag_embed(torch.diagonal(diagonal, dim1=1, dim2=2))).abs().max() < 1e-3


def test_muon_takes_the_matrices_of_the_blocks_alone(model):
    muon, adam = mini_model.optimizers(model, SETTINGS)
    shapes = {tuple(p.shape) for p in muon.param_groups[0]["params"]}
    assert shapes == {(24, 72), (24, 24), (24, 96), (96, 24)}
    counted = sum(len(o.param_groups[0]["params"]) for o in (muon, adam))
    assert counted == len(list(model.parameters()))


@pytest.mark.slow
def test_a_stopped_run_ends_in_the_same_weights(stream, tmp_path, monkeypatch):
    stream.tofile(tmp_path / "train.bin")
    monkeypatch.setattr(mini_model.torch, "compile", lambda function: function)

    def run(folder, stop_after=None):
        folder.mkdir(exist_ok=True)
        settings = SETTINGS if stop_after is None else replace(SETTINGS, steps=stop_after)
        # The schedule must be that of the whole run: only the number of steps taken differs.
        run = mini_model._Run(folder, SETTINGS, D_VOCAB, 0, 1)
        run.settings = SETTINGS
        for step in range(run.first, settings.steps):
            run.step(stream, step)
        run.save(settings.steps)
        return torch.load(folder / "checkpoint.pt", weights_only=True)["model"]

    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", stop_after=2)
    resumed = run(tmp_path / "parts")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_evaluate_is_the_mean_over_windows(model, stream):
    single = [loss_of(model, *windows(stream, np.array([row]))).item() for row in range(12)]
    assert evaluate(model, stream, batch=5) == pytest.approx(np.mean(single), rel=1e-6)


def test_residuals_are_hidden_states_centred_without_position_0(model, stream):
    rows = np.array([3, 7])
    found = mini_saes.residuals(model, stream, rows, batch=1)
    inputs, _ = windows(stream, rows)
    with torch.no_grad():
        states = model.transformer(input_ids=inputs, output_hidden_states=True).hidden_states
    assert list(found) == ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"]
    for hook, state in list(zip(found, states, strict=True))[:2]:
        expected = (state - state.mean(-1, keepdim=True))[:, 1:].reshape(-1, 24)
        assert torch.allclose(found[hook].float(), expected, atol=2e-3, rtol=1e-3)
    # Hugging Face's last hidden state has passed the final LayerNorm; so must ours, to be compared.
    post = found["blocks.1.hook_resid_post"].float()
    normed = model.transformer.ln_f(post)
    assert torch.allclose(normed, states[-1][:, 1:].reshape(-1, 24), atol=5e-3)


def identity_sae(d_in):
    """2 d_in features, plus and minus each axis: reconstructs everything."""
    eye = torch.eye(d_in)
    return mini_saes.Weights(
        torch.cat([eye, -eye], dim=1), torch.zeros(2 * d_in), torch.cat([eye, -eye]), torch.zeros(d_in)
    )


def test_a_perfect_sae_recovers_everything_and_zeros_nothing(model, stream):
    hook = "blocks.1.hook_resid_pre"
    clean = evaluate(model, stream)
    perfect = mini_evaluation.cross_entropies(model, identity_sae(24), hook, stream, clean)
    assert perfect["ce_sae"] == pytest.approx(clean, abs=1e-5)
    assert perfect["ce_recovered"] == pytest.approx(1, abs=1e-2)
    nothing = mini_saes.Weights(torch.zeros(24, 4), torch.zeros(4), torch.zeros(4, 24), torch.zeros(24))
    zeroed = mini_evaluation.cross_entropies(model, nothing, hook, stream, clean)
    assert zeroed["ce_sae"] == pytest.approx(zeroed["ce_zero"])
    assert zeroed["ce_recovered"] == pytest.approx(0, abs=1e-6)


def test_reconstruction_by_hand():
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    half = identity_sae(2)
    half.W_dec = half.W_dec / 2
    found = mini_evaluation.reconstruction(half, x)
    assert found["explained_variance"] == pytest.approx(0.75)
    assert found["l0"] == 1
    assert mini_evaluation.firing_counts(half, x).tolist() == [1, 1, 1, 1]


def test_sae_training_finds_sparse_directions():
    generator = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.normalize(torch.randn(20, 32, generator=generator), dim=1)
    active = (torch.rand(20_000, 20, generator=generator) < 0.1).float()
    x = (active * (1 + torch.rand(20_000, 20, generator=generator))) @ truth + 3.0
    settings = mini_saes.SAETraining(
        d_sae=48, target_l0=2, tokens=400_000, batch=512, lr=3e-3, seed=0, resample_every=100
    )
    weights, curve = mini_saes.train_sae(x.half(), settings)
    assert torch.allclose(weights.W_dec.norm(dim=1), torch.ones(48), atol=1e-5)
    found = mini_evaluation.reconstruction(weights, x)
    assert found["l0"] == pytest.approx(2, abs=0.5)
    assert found["explained_variance"] > 0.85
    best = (truth @ weights.W_dec.T).max(dim=1).values
    assert (best > 0.9).float().mean() > 0.8
    assert curve[-1]["step"] == 400_000 // 512 - 1


def test_stored_weights_are_half_precision_and_read_as_single(model, tmp_path):
    from safetensors.torch import load_file

    torch.save({"model": model.state_dict(), "curve": [{"step": 50, "train_nats": 1.25}]}, tmp_path / "c.pt")
    sae = identity_sae(24)
    sae.b_enc += 1 / 3
    fired = torch.arange(48) * 10
    mini_export.write_sae(sae, fired, 1000, "blocks.1.hook_resid_pre", tmp_path / "sae")
    stored = load_file(tmp_path / "sae/sae_weights.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    read = mini_export.read_sae(tmp_path / "sae")
    assert read.b_enc.dtype == torch.float32
    assert torch.equal(read.b_enc, sae.b_enc.half().float())
    densities = mini_export.read_densities(tmp_path / "sae")
    assert densities[0] == pytest.approx(-10)
    assert densities[10] == pytest.approx(math.log10(0.1))
    mini_export.write_curve(tmp_path / "c.pt", tmp_path / "curve.tsv")
    assert (tmp_path / "curve.tsv").read_text() == "step\ttrain_nats\n50\t1.2500\n"
