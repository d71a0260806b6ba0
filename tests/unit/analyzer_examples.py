"""Feature analyzers on the tiny study, for the tests of `fsrl.analyzer.analyzer`."""

import torch
from safetensors.torch import load_file

from fsrl.adapter.adapter import SAEAdapter
from fsrl.adapter.hooked_model import HookedModel
from fsrl.utils import SAEfeatureAnalyzer
from tests.fixtures import tiny_study as tiny
from tests.unit import adapter_examples, model_examples

HOOK = tiny.SAE_IDS[0]
# Few draws: the types themselves are tested elsewhere.
FEW = {"null_draws": 2000}


def hooked(study, form="bridge", sae_id=HOOK):
    """The tiny study's model, in one of `model_examples.FORMS`, with one of its SAEs."""
    adapter, _, _ = SAEAdapter.from_pretrained(str(study / "saes"), sae_id)
    return HookedModel(model_examples.FORMS[form](study / "model"), adapter)


def hooked_at(study, hook, d_in, form="bridge"):
    """With an SAE of random weights at another hook."""
    sae = adapter_examples.make_sae(hook=hook, d_in=d_in, d_sae=12)
    return HookedModel(model_examples.FORMS[form](study / "model"), SAEAdapter(sae))


def analyzer(study, form="bridge", **settings):
    """An analyzer; nothing is computed yet."""
    return SAEfeatureAnalyzer(hooked(study, form), **(FEW | settings))


def folded(study):
    """W_U [d_model, d_vocab] float64 as the files hold it, folded by hand."""
    stored = load_file(study / "model/model.safetensors")
    name = {key.removeprefix("transformer."): key for key in stored}
    embedding, gain = (stored[name[key]].double() for key in ("wte.weight", "ln_f.weight"))
    W_U = (embedding * gain).T
    return W_U - W_U.mean(0)


def rows(study, sae_id=HOOK):
    """The SAE's W_dec, float64."""
    return load_file(study / f"saes/{sae_id}/sae_weights.safetensors")["W_dec"].double()


def by_hand(W_dec, W_U):
    """mean, std, skewness and kurtosis [n, 4] of every row of the whole product."""
    logits = W_dec @ W_U
    std, mean = torch.std_mean(logits, dim=1, correction=0, keepdim=True)
    z = (logits - mean) / std
    return torch.cat([mean, std, z.pow(3).mean(1, True), z.pow(4).mean(1, True)], dim=1)
