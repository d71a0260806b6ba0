"""Every path for a GPU, run with values on a pretend one (`tests.fixtures.pretend_cuda`), or on a true one.

The pretence proves where tensors lie, and that what is computed there is what the CPU computes. It proves
nothing of a GPU's speed, of the numbers and the memory of its kernels, and of gradients.
"""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl import HookedModel, SAEAdapter
from fsrl.effects import agreement, forward
from fsrl.effects import measure as effect_measure
from fsrl.enrichment import scores as enrichment_scores
from fsrl.enrichment import statistics as enrichment_statistics
from fsrl.errors import FsrlError
from fsrl.models import export
from fsrl.moments import confidence, engine
from fsrl.moments.products import PRECISIONS
from fsrl.moments.readings import Reading
from fsrl.nulls import directions, undertrained
from fsrl.nulls import frames as nulls
from fsrl.stats import odds
from fsrl.tokens.text import ALPHABET
from tests.fixtures import effect_examples as ex
from tests.fixtures import model_examples
from tests.fixtures import pretend_cuda as pretending
from tests.fixtures import tiny_study as tiny
from tests.fixtures.adapter_examples import make_sae
from tests.fixtures.effect_study import study_of
from tests.fixtures.moment_examples import GAUSSIAN, RATIOS, tiles
from tests.fixtures.pretend_cuda import (
    FACTOR,
    IS_TRUE,
    assert_tables_alike,
    only_pretended,
    pretend_cuda,
)

NORMAL = torch.Generator().manual_seed(0)
W_DEC, W_U = torch.randn(30, 16, generator=NORMAL), torch.randn(16, 300, generator=NORMAL)
# Of std and kurtosis, relative, and of skewness: each precision as the docstring of logit_moments has it.
ERRORS = {"fp64": 1e-10, "fp32": 1e-5, "split": 1e-5, "auto": 1e-5, "bf16": 3e-2}
# W_dec and W_U lie there, and are computed on.
PLACES = [("cpu", "cpu", "cuda"), ("cuda", "cuda", None), ("cuda", "cpu", None), ("cpu", "cuda", None)]
MIXED = {
    "sum": lambda here, there: here + there,
    "product": lambda here, there: there @ here,
    "indices on the GPU into the CPU": lambda here, there: here[there.argmax(1)],
    "join": lambda here, there: torch.cat([here, there]),
    "NumPy": lambda here, there: there.numpy(),
    "integer product": lambda here, there: there.long() @ there.long(),
}


@pytest.fixture
def device():
    with pretend_cuda() as pretended:
        yield pretended


@only_pretended
@pytest.mark.parametrize("call", MIXED.values(), ids=MIXED)
def test_the_pretend_gpu_refuses_what_a_gpu_refuses(device, call):
    with pytest.raises(RuntimeError, match="device|subclass|CUDA"):
        call(torch.ones(3, 3), torch.ones(3, 3, device="cuda"))


@only_pretended
def test_the_pretend_gpu_has_the_values_and_counts_the_waits(device):
    there = torch.arange(6.0, device="cuda").view(2, 3)
    assert there.is_cuda
    assert not torch.zeros(2).is_cuda
    assert device.waits.total() == 0
    assert (there + torch.tensor(1.0))[:, [0, 2]].sum().item() == 14.0
    there[0] = 7  # a view of its memory
    assert there.to("cpu").tolist() == [[7, 7, 7], [3, 4, 5]]
    assert device.waits == {"_local_scalar_dense": 1, "to cpu": 1}


def test_beside_a_true_gpu_nothing_is_pretended(monkeypatch):
    monkeypatch.setattr(pretending, "IS_TRUE", True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    asked = torch.cuda.is_available
    with pretend_cuda() as device:
        assert device.name == "NVIDIA H100" and torch.cuda.is_available is asked
        assert torch.is_grad_enabled()
        torch.ones(2, 2) @ torch.ones(2, 2)
    assert not device.left and not device.waits


def test_a_true_gpu_may_round_otherwise_and_nothing_more():
    expected = pd.DataFrame({"rank": range(200), "std": 1.0})
    alike = partial(assert_tables_alike, rtol=1e-4, atol=0.0)
    other = expected.assign(std=1.0005)
    with pytest.raises(AssertionError, match="std"):
        alike(other, expected, is_true=False)
    alike(other, expected, is_true=True)
    with pytest.raises(AssertionError, match="std"):
        alike(expected.assign(std=1.002), expected, is_true=True)
    alike(expected.assign(rank=[1, 0, *range(2, 200)]), expected, is_true=True)
    with pytest.raises(AssertionError, match="rank"):
        alike(expected.assign(rank=[1, 0, 3, 2, *range(4, 200)]), expected, is_true=True)
    for odd in (expected[1:], expected.assign(std=np.nan), expected[["std", "rank"]]):
        with pytest.raises(AssertionError):
            alike(odd, expected, is_true=True)


def test_without_the_pretence_there_is_no_gpu():
    with pretend_cuda():
        assert torch.cuda.is_available()
    assert torch.cuda.is_available() == (torch.version.cuda is not None and torch.cuda.device_count() > 0)


@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_moments(device, precision, places):
    exact = engine.logit_moments(W_DEC, W_U, precision="fp64")
    W_dec, columns = (matrix.to(place) for matrix, place in zip((W_DEC, W_U), places, strict=False))
    found = engine.logit_moments(W_dec, columns, precision=precision, device=places[2])
    for name in ("mean", "std", "skewness", "kurtosis", "norm", "top_weights", "bottom_weights"):
        column = getattr(found, name)
        assert not column.is_cuda
        torch.testing.assert_close(
            column, getattr(exact, name), rtol=ERRORS[precision], atol=ERRORS[precision]
        )
    assert (found.underflow + found.counts.sum(1) + found.overflow == 300).all()
    if precision in ("fp64", "fp32"):
        assert torch.equal(found.top_ids, exact.top_ids)


@only_pretended
def test_moments_do_not_wait_for_the_gpu_at_every_block(device):
    waits = []
    for rows in (16, 64):
        W_dec = torch.randn(rows, 16, generator=NORMAL).to("cuda")
        kept = torch.arange(5, 300)
        readings = [Reading(), Reading(kept), Reading(kept, cosine=True)]
        with tiles(8, 64):
            device.waits.clear()
            engine.logit_moments_of_readings(W_dec, W_U.to("cuda"), readings, precision="auto")
        waits.append(dict(device.waits))
    assert waits[0] == waits[1]
    assert waits[0]["to cpu"] > 0


def test_strata_and_clusters(device):
    members = torch.rand(4, 300, generator=NORMAL) > 0.7
    strata = torch.arange(300) % 5
    here = enrichment_statistics.set_statistics(W_DEC, W_U, members, strata=strata)
    there = enrichment_statistics.set_statistics(W_DEC.to("cuda"), W_U.to("cuda"), members, strata=strata)
    for name in ("z", "t", "t_stratified", "log10_p_stratified", "sizes"):
        found = getattr(there, name)
        assert not found.is_cuda
        atol = 1e-3 if IS_TRUE else 1e-4
        torch.testing.assert_close(found, getattr(here, name), rtol=FACTOR * 1e-4, atol=atol)
    clusters = [odds.decoder_clusters(rows, threshold=0.6) for rows in (W_DEC, W_DEC.to("cuda"))]
    assert clusters[0].tolist() == clusters[1].tolist()
    assert 0 < clusters[0].max() < len(W_DEC) - 1


def test_undertrained_tokens(device):
    # Byte-level tokens, among them those that UTF-8 never uses, close together.
    tokens = [*ALPHABET, *(f"word{number}" for number in range(200))]
    matrix = torch.randn(12, len(tokens), generator=NORMAL)
    here = undertrained.by_distance(matrix, matrix, tokens, draws=1000, seed=0)
    there = undertrained.by_distance(matrix.to("cuda"), matrix.to("cuda"), tokens, draws=1000, seed=0)
    assert torch.equal(there.trained, here.trained)
    assert_tables_alike(there.curve, here.curve, rtol=1e-4, atol=1e-5)


def test_nulls(device):
    there = {"W_dec": W_DEC.to("cuda"), "W_U": W_U.to("cuda")}
    here = {name: tensor.to("cpu") for name, tensor in there.items()}
    settings = {
        "kinds": ["second_moment", "spectrum", "sign_flip"],
        "draws": 50,
        "seed": 0,
        "typical": GAUSSIAN,
    }
    tables = [nulls.of_layer(**given, **settings) for given in (there, here)]
    isotropic = [nulls.isotropic(given, draws=50, seed=0) for given in (there["W_U"], here["W_U"])]
    for pair in (tables, isotropic):
        pair = [table.drop(columns=RATIOS) for table in pair]
        assert_tables_alike(*pair, rtol=1e-5, atol=1e-5)


def test_signed_scores(device):
    given = W_DEC, W_U, torch.rand(4, 300, generator=NORMAL) > 0.7, torch.tensor([3, 1])
    expected = enrichment_scores.signed_scores(*given)
    found = enrichment_scores.signed_scores(*(tensor.to("cuda") for tensor in given))
    # Two tokens that a true GPU ranks the other way round move a running sum by 1 / 50 at most.
    for name in ("auc", "es"):
        atol = 0.02 if IS_TRUE else 0.0
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=atol)


def test_confidence(device):
    counts, frames = torch.arange(300) % 7, []
    for where in ("cuda", "cpu"):
        matrices = W_DEC.to(where), W_U.to(where), W_U[:, :16].to(where)
        read = confidence.reader(matrices[1], counts, null_space=0.2, layer_norm=True)
        assert read.null_space.is_cuda == read.slope.is_cuda == (where == "cuda")
        alike = partial(directions.spectrum, matrices[0], draws=200, seed=0)
        asked = {"spectrum": alike, "seed": 0, "draws": 200}
        frames.append(confidence.confidence_frame(matrices[0], read, matrices[2], **asked))
    assert frames[1].notna().all(axis=None)
    assert_tables_alike(*frames, rtol=1e-8, atol=1e-8)


def measured(folder, where, positions=3):
    """Readings of the tiny study's model, measured on a device."""
    model = ex.bridge(folder, torch.float32).to(where)
    tail = ex.Tail.of(model, where)
    clean = ex.run_clean(model, ex.TOKENS.to(where), ex.PLACES, (), where)
    vocabulary = agreement.Vocabulary.of(export.fold(model.W_U.detach(), model.ln_final.weight.detach()))
    assert vocabulary.centred.device.type == clean.final.device.type == torch.device(where).type
    features = list(range(9))
    return effect_measure.measure(
        tail,
        clean,
        ex.decoder(),
        vocabulary,
        features,
        ex.activations(),
        positions=positions,
        seed=(0,),
        T=torch.eye(ex.D_MODEL),
        own_jacobian=True,
    )


def test_effects_are_those_of_the_cpu(device, tiny_study):
    there, here = (measured(tiny_study, where) for where in ("cuda", "cpu"))
    assert len(here.readings) > 100
    # Top-10 overlaps and ranks may swap where logits are all but equal.
    for name in ("changes", "readings", "averaged"):
        assert_tables_alike(getattr(there, name), getattr(here, name), rtol=1e-4, atol=1e-5)


@only_pretended
def test_effects_do_not_wait_for_the_gpu_at_every_position(device, tiny_study):
    waits = []
    for positions in (1, 5):
        device.waits.clear()
        measured(tiny_study, "cuda", positions)
        # A mask is used for rows with ties alone.
        waits.append({name: number for name, number in device.waits.items() if name != "mask"})
    assert waits[0] == waits[1]
    assert waits[0]["to cpu"] > 0


def test_a_study_on_the_gpu_is_that_of_the_cpu(device, tiny_study):
    for there, here in zip(*(study_of(tiny_study, where) for where in ("auto", "cpu")), strict=True):
        assert there.said["device"] == "cuda"
        assert {"active", "inactive"} <= set(here.effects["state"])
        for name in ("effects", "agreement", "peaks"):
            assert_tables_alike(getattr(there, name), getattr(here, name), rtol=1e-3, atol=1e-4)


def test_a_batch_follows_the_memory_of_the_gpu(device, monkeypatch):
    cuda = torch.device("cuda:0")
    sizes = []
    for gib in (8, 80):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_, gib=gib: (gib * 2**30, 2**40))
        sizes.append(forward.rows(cuda, 2**20))
        assert sizes[-1] * 2**20 <= gib * 2**30 / 8
    assert sizes[1] == 10 * sizes[0]
    assert forward.rows(cuda, 2**60) == 1
    assert forward.rows(torch.device("cpu"), 2**20) == forward.CPU_BYTES // 2**20


@pytest.mark.parametrize("form", model_examples.FORMS)
def test_a_hooked_model_moves_as_a_whole(device, tiny_study, form):
    model = HookedModel(
        model_examples.FORMS[form](tiny_study / "model"), SAEAdapter(make_sae(), use_lora_adapter=True)
    )
    here = model(model_examples.TOKENS)
    for move in (partial(model.to, "cuda"), model.cuda):
        there = move()(model_examples.TOKENS.to("cuda"))
        assert there.is_cuda
        torch.testing.assert_close(there.cpu(), here, rtol=FACTOR * 1e-4, atol=FACTOR * 1e-5)
        assert {part.device.type for part in (*model.parameters(), *model.buffers())} == {"cuda"}
        assert torch.equal(model.cpu()(model_examples.TOKENS), here)


def test_a_model_and_an_sae_on_two_devices_are_refused(device, tiny_study):
    model = model_examples.bridge(tiny_study / "model")
    with pytest.raises(FsrlError, match="SAE is on cuda:0, the model on cpu"):
        HookedModel(model, SAEAdapter(make_sae()).to("cuda"))


def test_an_adapter_is_read_onto_the_gpu(device, tiny_study):
    adapter, _, density = SAEAdapter.from_pretrained(str(tiny_study / "saes"), tiny.SAE_IDS[0], device="cuda")
    assert {part.device.type for part in (*adapter.parameters(), density)} == {"cuda"}
    x = torch.randn(5, tiny.D_MODEL, generator=NORMAL)
    torch.testing.assert_close(
        adapter(x.to("cuda")).cpu(), adapter.to("cpu")(x), rtol=FACTOR * 1e-5, atol=FACTOR * 1e-5
    )


def test_an_analyzer_computes_where_its_model_lies(device, tiny_study):
    from tests.fixtures import analyzer_examples

    here, there = (analyzer_examples.analyzer(tiny_study) for _ in range(2))
    there.sae_model.to("cuda")
    moved = type(there)(there.sae_model, **analyzer_examples.FEW)
    assert_tables_alike(moved.logit_distr(), here.logit_distr(), rtol=1e-4, atol=1e-5)
    steering = torch.linspace(-1, 1, tiny.D_SAE)
    found = [
        of.get_steered_features_info(vector, descriptions=False)
        for of, vector in ((moved, steering.to("cuda")), (here, steering))
    ]
    assert found[0]["feature"].tolist() == found[1]["feature"].tolist()
