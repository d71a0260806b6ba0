"""Lens files: TransformerLens reads ours, we read its own, and nothing in a pickle is executed."""

import pickle
from dataclasses import replace

import pytest
import torch

from fsrl.errors import FsrlError
from fsrl.transport import lens
from fsrl.weights.transport import Transport

HOOKS = (
    "blocks.0.hook_resid_pre",
    "blocks.1.hook_resid_pre",
    "blocks.1.hook_resid_mid",
    "blocks.1.hook_resid_post",
    "blocks.2.hook_resid_post",
)


def seeded(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def own(hooks=HOOKS, d=4):
    """As `fit` gives it for these hooks."""
    metadata = {"layers": "3", "sites": "8", "model": "tiny", "model_sha256": "ab", "position": "same"}
    J = {0: HOOKS[1], 1: HOOKS[3]}
    J = {block: seeded(2 + block, d, d) for block, hook in J.items() if hook in hooks}
    return Transport(seeded(0, len(hooks), d, d), hooks, metadata, J)


def theirs(path, d=4, layers=(0, 1), **metadata):
    from transformer_lens.tools.analysis import JacobianLens

    generator = torch.Generator().manual_seed(1)
    J = {layer: torch.randn(d, d, generator=generator) for layer in layers}
    JacobianLens(J, n_prompts=5, d_model=d, metadata=metadata).save(str(path), dtype=torch.float32)
    return J


def test_transformer_lens_reads_what_we_write(tmp_path):
    from transformer_lens.tools.analysis import JacobianLens

    lens.write_artifact(own(), tmp_path / "lens.pt")
    found = JacobianLens.load(str(tmp_path / "lens.pt"))
    # Before block 1 is the output of block 0; block 2 is the last.
    assert found.source_layers == [0, 1] and found.d_model == 4 and found.n_prompts == 8
    for block, J in own().J.items():
        assert torch.equal(found.jacobians[block], J)
    assert found.metadata["model_sha256"] == "ab" and found.metadata["position"] == "same"
    # It holds a revision against the model's; a folder has none.
    for revision, kept in (("local folder", None), ("0f" * 20, "0f" * 20)):
        said = replace(own(), metadata=own().metadata | {"model_revision": revision})
        lens.write_artifact(said, tmp_path / "lens.pt")
        assert JacobianLens.load(str(tmp_path / "lens.pt")).metadata.get("model_revision") == kept


READ = [
    f"blocks.{layer}.{point}"
    for layer in (0, 1)
    for point in ("hook_resid_post", "hook_mlp_out", "mlp.hook_post")
] + ["blocks.1.hook_resid_pre", "blocks.2.hook_resid_post"]


def read(path, given=None, hooks=READ, **said):
    return lens.read_artifact(path, given or own(), hooks, name="a lens", **said)


def test_a_published_lens_is_read_with_the_final_norm_behind_it(tmp_path):
    J = theirs(tmp_path / "lens.pt")
    found = read(tmp_path / "lens.pt")
    N = own().at("blocks.2.hook_resid_post")
    assert found.hooks == tuple(READ)
    for layer, matrix in J.items():
        for point in ("hook_resid_post", "hook_mlp_out", "mlp.hook_post"):
            assert torch.allclose(found.at(f"blocks.{layer}.{point}"), N @ matrix)
    assert torch.allclose(found.at("blocks.1.hook_resid_pre"), N @ J[0])
    assert torch.equal(found.at("blocks.2.hook_resid_post"), N)
    assert found.metadata["position"] == "all later ones, summed" and found.metadata["sites"] == "5"
    assert found.metadata["model_sha256"] == "ab" and len(found.metadata["lens_sha256"]) == 64
    assert found.metadata["lens"] == "a lens"


def test_a_lens_of_ours_is_read_like_any_and_written_alike(tmp_path):
    lens.write_artifact(own(), tmp_path / "lens.pt")
    lens.write_artifact(own(), tmp_path / "again.pt")
    assert (tmp_path / "lens.pt").read_bytes() == (tmp_path / "again.pt").read_bytes()
    found = read(tmp_path / "lens.pt", hooks=HOOKS[1:2] + HOOKS[3:])
    N = own().at("blocks.2.hook_resid_post")
    expected = {HOOKS[1]: N @ own().J[0], HOOKS[3]: N @ own().J[1], HOOKS[4]: N}
    for hook in found.hooks:
        assert torch.allclose(found.at(hook), expected[hook])
    assert found.metadata["position"] == "same" and found.J == {}
    other = Transport(own().T, HOOKS, own().metadata | {"model_sha256": "cd", "model": "other"})
    with pytest.raises(FsrlError, match="the lens is of tiny, and the study's model is other"):
        read(tmp_path / "lens.pt", other)


def test_where_a_lens_knows_nothing_it_is_refused(tmp_path):
    theirs(tmp_path / "lens.pt")
    for hook in ("blocks.0.hook_resid_pre", "blocks.1.hook_resid_mid", "blocks.1.attn.hook_z"):
        with pytest.raises(FsrlError, match=f"no J at {hook} .it has the outputs of blocks 0, 1.; name the"):
            read(tmp_path / "lens.pt", hooks=[hook])
    # Where attention and MLP are parallel the attention's output reaches the stream after the block.
    parallel = Transport(own().T, HOOKS, own().metadata | {"parallel_blocks": "true"})
    found = read(tmp_path / "lens.pt", parallel, ["blocks.1.attn.hook_z", "blocks.1.hook_resid_post"])
    assert torch.equal(*found.T)


def test_names_of_models_are_compared_where_both_are_known(tmp_path):
    theirs(tmp_path / "lens.pt", model_name="gpt2")
    assert read(tmp_path / "lens.pt").metadata["model"] == "tiny"
    assert read(tmp_path / "lens.pt", model="openai-community/GPT2").metadata["model"] == "tiny"
    with pytest.raises(FsrlError, match="the lens is of gpt2, and the study's model is tiny; give the lens"):
        read(tmp_path / "lens.pt", model="EleutherAI/pythia-70m")
    theirs(tmp_path / "lens.pt", target_layer=1)
    with pytest.raises(FsrlError, match="leads to the output of block 1, and the model's last is 2"):
        read(tmp_path / "lens.pt")


class Harm:
    """What unpickles to a file that is written."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_in_a_file_is_executed(tmp_path):
    done = tmp_path / "done"
    (tmp_path / "lens.pt").write_bytes(pickle.dumps({"J": Harm(done)}))
    torch.save({"J": {0: Harm(done)}}, tmp_path / "new.pt")
    for name in ("lens.pt", "new.pt"):
        with pytest.raises(FsrlError, match="cannot be read as weights alone"):
            read(tmp_path / name)
    assert not done.exists()
    # The check can fail.
    pickle.loads((tmp_path / "lens.pt").read_bytes())
    assert done.exists()


def test_what_is_no_lens_of_this_model_is_refused(tmp_path):
    path = tmp_path / "lens.pt"
    with pytest.raises(FsrlError, match="no such file; give a file of JacobianLens.save"):
        read(path)
    torch.save({"j": 1}, path)
    with pytest.raises(FsrlError, match="holds no J, a matrix for each block"):
        read(path)
    theirs(path, d=5)
    with pytest.raises(
        FsrlError, match=r"J of block 0 is \[5, 5\], and the model has 3 blocks and d_model 4"
    ):
        read(path)
    theirs(path, layers=(0, 7))
    with pytest.raises(FsrlError, match="J of block 7 .* give the lens of this model"):
        read(path)
    theirs(path)
    with pytest.raises(
        FsrlError, match="none after the last block.*measure them at blocks.2.hook_resid_post"
    ):
        read(path, own(HOOKS[:2]))
    with pytest.raises(FsrlError, match="no hook of blocks.0.hook_resid_pre is the output of a block"):
        lens.write_artifact(own(HOOKS[:1]), path)
