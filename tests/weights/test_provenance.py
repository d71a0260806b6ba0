"""What tables say they were made from."""

import pytest
import torch

from fsrl.errors import FsrlError
from fsrl.weights import provenance
from fsrl.weights.matrices import Decoder, Unembedding

W_U = torch.ones(3, 5)


def unembedding(**metadata: str) -> Unembedding:
    return Unembedding(W_U, W_U.clone(), tuple("abcde"), None, None, metadata)


def decoder(**metadata: str) -> Decoder:
    hook = "blocks.0.mlp.hook_post"
    return Decoder(torch.ones(4, 3), None, hook, 0, hook, metadata)


def test_a_decoder_s_study_is_the_table_s() -> None:
    made = provenance.metadata(unembedding(model="m"), decoder(study="s", model="m"), draws=3)
    assert made["study"] == "s" and made["d_vocab"] == "5" and made["draws"] == "3"
    assert "study" not in provenance.metadata(unembedding(model="m"))


def test_weights_of_two_models_are_not_put_together() -> None:
    same = {"model_sha256": "a"}
    assert provenance.metadata(unembedding(**same), decoder(**same))["model_sha256"] == "a"
    with pytest.raises(FsrlError, match="blocks.0.mlp.hook_post: its model's weights have sha256 b"):
        provenance.metadata(unembedding(**same), decoder(model_sha256="b"))
