"""A W_U of any size, some columns at a time: the same as whole, and without a copy in memory."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch

from fsrl.claims import dips
from fsrl.enrichment import calibration, effect_sizes, row_nulls, scores, statistics
from fsrl.enrichment.covariance import layer_covariance
from fsrl.errors import FsrlError
from fsrl.explanations import agreement
from fsrl.models import export
from fsrl.moments import axis_share, confidence
from fsrl.nulls import directions, undertrained
from fsrl.weights import columns, matrices, pages, transport

D_MODEL, N_TOKENS, D_SAE = 12, 997, 40


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def W_U() -> torch.Tensor:
    """Columns around a mean, with a spectrum."""
    return seeded(D_MODEL, N_TOKENS) * torch.linspace(1, 0.1, D_MODEL)[:, None] + seeded(D_MODEL, 1, seed=1)


@pytest.fixture
def tiled(monkeypatch) -> Callable[[], list[tuple[int, int]]]:
    """Makes every matrix a large one from then on; the shapes of what was put into files."""
    made: list[tuple[int, int]] = []
    own = pages.room

    def room(rows: int, n: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        made.append((rows, n))
        return own(rows, n, dtype)

    def begin() -> list[tuple[int, int]]:
        monkeypatch.setattr(columns, "WHOLE", 100)
        monkeypatch.setattr(columns, "TILE", D_MODEL * 400)
        monkeypatch.setattr(pages, "room", room)
        return made

    return begin


def unembedding(W_U: torch.Tensor) -> matrices.Unembedding:
    trained = torch.arange(N_TOKENS) % 5 > 0
    names = tuple(f"t{number}" for number in range(N_TOKENS))
    return matrices.Unembedding(W_U, 2 * W_U, names, None, trained, {})


def sets() -> torch.Tensor:
    return torch.rand(8, N_TOKENS, generator=torch.Generator().manual_seed(3)) < 0.1


def axis(W_U):
    return [axis_share.axis_share(seeded(D_SAE, D_MODEL), W_U, seeded(D_MODEL).double())]


def confident(W_U):
    read = confidence.reader(W_U, torch.arange(N_TOKENS), null_space=0.2, layer_norm=True)
    shares = confidence.null_shares(seeded(D_SAE, D_MODEL).double(), read.null_space)
    return [read.slope, torch.from_numpy(shares)]


def views(W_U):
    given = unembedding(W_U)
    settings = ({"tokens": "trained"}, {"tokens": "trained", "cosine": True}, {"cosine": True})
    return [matrices.view_unembedding(given, **one)[0] for one in settings]


def carried(W_U):
    moved = transport.Transport(seeded(1, D_MODEL, D_MODEL), ("hook",), {})
    found = transport.carried(unembedding(W_U), moved, "hook")
    return [found.folded, found.raw]


def nulls(W_U):
    found = row_nulls.null_directions(W_U, draws=300, seed=0)
    return [found.turned, *(own.T @ own for own in (found.random[size] for size in sorted(found.random)))]


def calibrated(W_U):
    nulls = row_nulls.null_directions(W_U, draws=300, seed=0)
    chosen = {"nulls": nulls, "repetitions": 1, "seed": 1, "level": 0.05, "cut": -1.0}
    found = calibration.null_tests(seeded(D_SAE, D_MODEL), W_U, sets(), **chosen)
    return [torch.from_numpy(np.asarray(one.t)) for one in found]


def sizes(W_U):
    rows = seeded(D_SAE, D_MODEL)
    found = effect_sizes.t_and_eta2(rows, W_U, sets(), layer_covariance(rows))
    return [torch.from_numpy(one) for one in found]


def enriched(W_U):
    nulls = row_nulls.null_directions(W_U, draws=300, seed=0)
    found = statistics.set_statistics(seeded(D_SAE, D_MODEL), W_U, sets(), nulls=nulls)
    return [found.z, found.t]


def scored(W_U):
    found = scores.signed_scores(seeded(D_SAE, D_MODEL), W_U, sets(), torch.arange(5))
    return [found.auc, found.es]


def dipped(W_U):
    return [torch.from_numpy(dips.dips(seeded(5, D_MODEL), W_U))]


def spectral(W_U):
    return [directions.mean_spectrum(seeded(D_SAE, D_MODEL).double(), W_U)]


def without(W_U):
    return [undertrained.kurtosis_without(seeded(20, D_MODEL), W_U, [0, 1, 7, 40])]


def by_distance(W_U):
    owned = torch.arange(N_TOKENS) > 10
    names = [f"t{number}" for number in range(N_TOKENS)]
    chosen = {"draws": 1000, "seed": 0, "owned": owned}
    found = undertrained.by_distance(W_U, 2 * W_U, names, **chosen)
    return [found.trained, found.distance, torch.from_numpy(found.curve.to_numpy(dtype=float))]


def folded(W_U):
    return [export.fold(W_U, seeded(D_MODEL), norm) for norm in ("LayerNorm", "RMSNorm")]


def compared(W_U):
    numbers = {"pos_values": [3.0, 2.0], "neg_values": [-3.0, -2.0]}
    row = {**numbers, "pos_str": ["t1", "t2"], "neg_str": ["t3", "t4"]}
    frame = agreement.compare({0: row, 3: row}, seeded(D_SAE, D_MODEL), unembedding(W_U), sae="a")
    return [torch.from_numpy(frame[["max_difference", "scale"]].to_numpy())]


EVERY = [axis, confident, views, carried, nulls, calibrated, sizes, enriched, scored, dipped, spectral]
EVERY += [without, by_distance, folded, compared]


@pytest.mark.parametrize("computed", EVERY)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_tiles_give_what_the_whole_gives(computed, W_U, tiled):
    whole = computed(W_U)
    tiled()
    for found, expected in zip(computed(W_U), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5, equal_nan=True)


def test_a_gram_is_that_of_the_centred_columns(W_U, tiled):
    exact = W_U.double() - W_U.double().mean(dim=1, keepdim=True)
    assert torch.equal(columns.centred_gram(W_U), exact @ exact.T)
    tiled()
    assert [tile.stop - tile.start for tile in columns.tiles(W_U)] == [400, 400, 197]
    torch.testing.assert_close(columns.centred_gram(W_U), exact @ exact.T, rtol=1e-12, atol=1e-12)


def test_copies_of_a_large_one_lie_in_files(W_U, tiled):
    made = tiled()
    views(W_U)
    assert made == [(D_MODEL, 797), (D_MODEL, 797), (D_MODEL, 797), (D_MODEL, N_TOKENS)]


def test_a_column_without_direction_is_named_in_any_tile(W_U, tiled):
    tiled()
    given = W_U - columns.mean(W_U).float()[:, None]
    given[:, 600] = 0
    given[:, 601] -= columns.mean(given).float() * N_TOKENS
    given = given.double().sub_(given.double().mean(dim=1, keepdim=True)).float()
    given = torch.cat([given, -given], dim=1)  # whose mean is exactly 0
    marks = tuple(f"t{number}" for number in range(2 * N_TOKENS))
    given[:, 600] = given[:, 600 + N_TOKENS] = 0
    read = matrices.Unembedding(given, given, marks, None, None, {})
    with pytest.raises(FsrlError, match="token 600 lies at the vocabulary's mean"):
        matrices.view_unembedding(read, cosine=True)


def test_transposed_becomes_row_after_row(tiled):
    given = seeded(N_TOKENS, D_MODEL).T
    tiled()
    found = columns.contiguous(given)
    assert found.is_contiguous() and torch.equal(found, given)


def test_a_product_in_tiles_is_written_where_it_is_asked_for(W_U, tiled):
    rows, out = seeded(5, D_MODEL), torch.empty(5, N_TOKENS)
    tiled()
    found = columns.product(rows, W_U, out=out)
    assert found is out
    torch.testing.assert_close(out, rows @ W_U)


def test_writing_holds_no_copy(tmp_path):
    """What numpy and Python allocate, of writing a matrix of 16 MiB: safetensors' own writer copies it."""
    given = matrices.Decoder(torch.randn(2**12, 2**10), None, "blocks.0.hook_resid_post", 0, "a", {})
    tracemalloc.start()
    matrices.write_decoder(given, tmp_path / "decoder")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21
    assert torch.equal(matrices.read_decoder(tmp_path / "decoder").W_dec, given.W_dec)
