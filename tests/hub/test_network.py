"""The true GPT-2 from the true hub, against the published rows; skipped where the hub cannot be reached."""

import socket

import pytest
import torch

from fsrl.models import dictionaries, export, hub_files, reading
from fsrl.models.sources import ModelSource, SAESource
from fsrl.moments import engine

# Printed by a public run of the SAELens logit-lens tutorial for blocks.8.hook_resid_pre of gpt2-small-res-jb,
# folded W_U: feature, std, skewness, kurtosis, log10 density.
PUBLISHED = [
    (0, 0.147306, 0.181176, 3.349324, -2.826817),
    (1, 0.167641, 0.123870, 3.466492, -3.049473),
    (2, 0.157237, 0.097977, 3.300671, -2.960210),
    (3, 0.174304, 0.133900, 3.522123, -2.822145),
    (4, 0.190366, 0.212915, 3.326519, -2.125533),
    (24571, 0.205128, 0.320509, 3.330733, -1.933250),
    (24572, 0.163037, 0.112237, 3.468480, -3.279720),
    (24573, 0.166876, 0.311090, 4.092549, -2.592994),
    (24574, 0.170027, 0.359409, 3.876930, -3.186663),
    (24575, 0.256168, 0.357178, 2.617406, -2.580951),
]


def reachable() -> bool:
    try:
        socket.create_connection(("huggingface.co", 443), timeout=2).close()
    except OSError:
        return False
    return True


@pytest.mark.network
def test_layer_8_has_the_published_moments():
    if not reachable():
        pytest.skip("huggingface.co cannot be reached from this machine")
    source = ModelSource(hub="gpt2")
    saes = SAESource(release="gpt2-small-res-jb", ids=("blocks.8.hook_resid_pre",))
    hub_files.fetch(source.hub_files() + saes.hub_files())
    model = reading.read_model(source)
    [decoder] = dictionaries.decoders(saes, model, study="network")
    folded = export.fold(model.W_U, model.bridge.ln_final.weight.detach())
    features = [row[0] for row in PUBLISHED]
    found = engine.logit_moments(decoder.W_dec[features], folded, precision="fp64")
    columns = torch.stack([found.std, found.skewness, found.kurtosis], dim=1)
    expected = torch.tensor([row[1:4] for row in PUBLISHED], dtype=torch.float64)
    torch.testing.assert_close(columns, expected, rtol=1e-3, atol=0)
    density = torch.tensor([row[4] for row in PUBLISHED])
    torch.testing.assert_close(decoder.log10_density[features], density, rtol=1e-3, atol=0)
