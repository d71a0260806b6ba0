"""The file of transport matrices, and what they do to directions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.moments import engine
from fsrl.weights import matrices, transport
from fsrl.weights.matrices import Decoder, Unembedding
from fsrl.weights.transport import Transport

HOOKS = ("blocks.0.hook_resid_pre", "blocks.1.attn.hook_z")


def made(n=2, d=3):
    T = torch.randn(n, d, d, generator=torch.Generator().manual_seed(0))
    return Transport(T, HOOKS[:n], {"sites": "4"})


def test_what_is_written_is_read(tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    transport.write(made(), first)
    transport.write(made(), second)
    found = transport.read(first)
    assert torch.equal(found.T, made().T) and found.hooks == HOOKS and found.metadata == {"sites": "4"}
    assert first.read_bytes() == second.read_bytes() and found.J == {}


def test_J_of_blocks_is_kept_with_T_and_read_by_no_view(tmp_path):
    J = {11: made().T[0] + 1, 2: made().T[1] - 1}
    transport.write(Transport(made().T, HOOKS, {}, J), tmp_path / "a.safetensors")
    found = transport.read(tmp_path / "a.safetensors")
    assert list(found.J) == [2, 11] and all(torch.equal(found.J[block], J[block]) for block in J)
    seen = transport.view(decoder(), model(), VIEWS["carried"], found)
    assert torch.equal(seen.W_U, transport.view(decoder(), model(), VIEWS["carried"], made()).W_U)
    with pytest.raises(FsrlError, match="transport, J of block 2: inf at"):
        Transport(made().T, HOOKS, {}, {2: torch.eye(3) / 0})


@given(st.integers(0, 2**31), st.floats(-100, 100))
def test_logit_weights_are_linear_in_the_row_and_row_by_row(seed, factor):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(5, 3, generator=generator)
    order = torch.randperm(5, generator=generator)

    def weights(W_dec):
        own = Decoder(W_dec.contiguous(), None, HOOKS[0], 0, "sae", {})
        view = transport.view(own, model(), VIEWS["carried"], made())
        return view.W_dec.double() @ view.W_U.double()

    found = weights(rows)
    assert torch.allclose(weights(factor * rows), factor * found, atol=1e-3)
    assert torch.equal(weights(rows[order]), found[order])


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(FsrlError, match="no matrix of blocks.7.hook_resid_pre .there are: blocks.0"):
        made().at("blocks.7.hook_resid_pre")
    with pytest.raises(FsrlError, match=r"T is \[2, 3, 3\] for 1 hooks"):
        Transport(made().T, HOOKS[:1], {})
    with pytest.raises(FsrlError, match=r"transport: nan at \[1, 2, 0\]"):
        T = made().T.clone()
        T[1, 2, 0] = torch.nan
        Transport(T, HOOKS, {})
    with pytest.raises(FsrlError, match="no such file .transport.; build it first"):
        transport.read(tmp_path / "none.safetensors")


VIEWS = {
    "main": {"w_u": "folded", "tokens": "all", "cosine": False},
    "carried": {"w_u": "folded", "tokens": "all", "cosine": False, "transport": "same_position"},
    "raw": {"w_u": "raw", "transport": "same_position"},
}


def model(d=3, n=7, **metadata):
    generator = torch.Generator().manual_seed(1)
    folded, raw = torch.randn(2, d, n, generator=generator)
    return Unembedding(folded, raw, tuple("abcdefg"[:n]), None, None, metadata)


def decoder(d=3):
    W_dec = torch.randn(5, d, generator=torch.Generator().manual_seed(2))
    return Decoder(W_dec, None, HOOKS[1], 1, "sae", {})


def test_a_view_with_transport_reads_what_rows_become():
    found = transport.view(decoder(), model(), VIEWS["carried"], made())
    slow = (decoder().W_dec.double() @ made().T[1].double().T) @ model().folded.double()
    assert torch.allclose(found.W_dec.double() @ found.W_U.double(), slow, atol=1e-5)
    # Rows stay what they are: their norms are those that std is compared with.
    assert torch.equal(found.W_dec, decoder().W_dec)
    raw = transport.view(decoder(), model(), VIEWS["raw"], made())
    assert torch.allclose(raw.W_dec @ raw.W_U, decoder().W_dec @ made().T[1].T @ model().raw, atol=1e-5)


def test_without_transport_and_with_the_identity_a_view_is_as_it_was():
    expected = matrices.view(decoder(), model(), **VIEWS["main"])
    assert torch.equal(transport.view(decoder(), model(), VIEWS["main"], None).W_U, expected.W_U)
    one = Transport(torch.eye(3)[None], HOOKS[1:], {})
    assert torch.equal(transport.view(decoder(), model(), VIEWS["carried"], one).W_U, expected.W_U)


def test_groups_are_the_plain_views_and_the_carried_ones():
    own = model(model_sha256="ab")
    said = Transport(made().T, HOOKS, {"model_sha256": "ab", "sites": "4"})
    (plain, first), (seen, second) = transport.groups(own, HOOKS[0], VIEWS, said)
    assert plain is own and list(first) == ["main"] and list(second) == ["carried", "raw"]
    assert "transport" not in second["raw"] and seen.metadata["transport_sites"] == "4"
    ((only, views),) = transport.groups(own, HOOKS[0], {"main": VIEWS["main"]}, None)
    assert only is own and list(views) == ["main"]


def test_each_view_has_its_own_matrices(tmp_path):
    """A lens beside our own; views that share a file are one group."""
    lens = Transport(made().T + 1, HOOKS, {"lens": "a lens", "position": "all later ones, summed"})
    transport.write(made(), tmp_path / "own.safetensors")
    transport.write(lens, tmp_path / "lens.safetensors")
    views = VIEWS | {"lens": VIEWS["main"] | {"transport": {"lens": "someone/lenses"}}}
    own, other = str(tmp_path / "own.safetensors"), str(tmp_path / "lens.safetensors")
    moved = transport.read_of_views(views, [own, own, other])
    assert list(moved) == ["carried", "raw", "lens"] and moved["carried"] is moved["raw"]
    groups = list(transport.groups(model(), HOOKS[0], views, moved))
    assert [list(own) for _, own in groups] == [["main"], ["carried", "raw"], ["lens"]]
    assert torch.equal(groups[2][0].folded, lens.T[0].T @ model().folded)
    assert groups[2][0].metadata["transport_lens"] == "a lens"
    with pytest.raises(
        FsrlError, match="view lens: it needs the matrices of transport.*study's lenses first"
    ):
        list(transport.groups(model(), HOOKS[0], views, {"carried": made(), "raw": made()}))
    with pytest.raises(FsrlError, match="view lens: transport is .*, and the matrices are our own"):
        list(transport.groups(model(), HOOKS[0], views, made()))
    with pytest.raises(FsrlError, match="view carried: .*, and the matrices are those of a lens"):
        list(transport.groups(model(), HOOKS[0], VIEWS, lens))


def test_a_view_without_its_matrices_is_refused():
    with pytest.raises(FsrlError, match="view carried: it needs the matrices of transport"):
        list(transport.groups(model(), HOOKS[0], VIEWS, None))
    with pytest.raises(FsrlError, match="transport is 'sideways'; choose same_position"):
        transport.is_carried({"transport": "sideways"})
    other = Transport(made().T, HOOKS, {"model_sha256": "cd", "model": "gpt2"})
    with pytest.raises(FsrlError, match="it was measured in gpt2, not in mini"):
        transport.view(decoder(), model(model_sha256="ab", model="mini"), VIEWS["carried"], other)
    with pytest.raises(FsrlError, match=r"d_model 4, 3.; build it again"):
        transport.view(decoder(), model(), VIEWS["carried"], made(d=4))


def test_what_knows_no_transport_says_so():
    """Elsewhere the setting would be passed over in silence."""
    with pytest.raises(FsrlError, match="view carried: unknown setting 'transport'"):
        engine.logit_moments_of_views(decoder().W_dec, model(), VIEWS)
