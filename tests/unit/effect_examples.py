"""A small GPT-2 whose blocks matter, read as raw TransformerBridge, for the tests of measured effects."""

from functools import partial

import torch

from fsrl.effects.forward import Tail, run_clean
from fsrl.hooks import Place
from fsrl.models import export
from fsrl.weights.matrices import Decoder

N_LAYERS, D_MODEL = 2, 16
PLACES = [Place(layer, mid) for layer in range(N_LAYERS) for mid in (False, True)] + [Place(N_LAYERS, False)]
TOKENS = torch.randint(1, 250, (6, 12), generator=torch.Generator().manual_seed(0))
TOKENS[:, 0] = 0


def bridge(folder, dtype=torch.float64):
    """The tiny study's model with larger matrices, so that no block is nearly the identity."""
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers(str(folder / "model"), device="cpu", dtype=dtype)
    with torch.no_grad():
        for name, parameter in model.original_model.named_parameters():
            if ".h." in name or "blocks" in name:
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
                parameter.mul_(3 if parameter.dim() > 1 else 1).add_(0.03 * noise)
    return model.eval()


def study(folder, dtype=torch.float64, hooks=()):
    """The model, its tail, a clean run with every place, and the folded W_U."""
    model = bridge(folder, dtype)
    W_U = export.fold(model.W_U.detach(), model.ln_final.weight.detach())
    return model, Tail.of(model), run_clean(model, TOKENS, PLACES, hooks, "cpu"), W_U


def add(vector, position, activation, hook):
    """A hook that adds `vector` at one position."""
    changed = activation.clone()
    changed[:, position] += vector.to(activation).view(changed.shape[2:])
    return changed


def logits_change(model, context, position, hook, vector):
    """By the model itself: the change of one position's logits [d_vocab] when vector is added at a hook."""
    tokens = TOKENS[context : context + 1]
    with torch.no_grad():
        before = model(tokens)[0, position]
        hooks = [(hook, partial(add, vector, position))]
        return model.run_with_hooks(tokens, fwd_hooks=hooks)[0, position] - before


def decoder(hook="blocks.1.hook_resid_pre", n=9, scale=1.0):
    """Random directions; the last one is zero."""
    W_dec = scale * torch.randn(n, D_MODEL, generator=torch.Generator().manual_seed(2))
    W_dec[-1] = 0
    return Decoder(W_dec, torch.linspace(-4, -1, n), hook, 1, hook, {})


def activations(n=9):
    """[contexts, positions, n]: the first feature never active, the second everywhere, others at times."""
    found = torch.rand(*TOKENS.shape, n, generator=torch.Generator().manual_seed(3)) - 0.6
    found[..., 0] = 0
    found[..., 1] = 2
    return found.clamp(min=0)
