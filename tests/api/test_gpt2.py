"""The notebook's lines on gpt2-small from a hub, with Neuronpedia answering and then out of reach."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.api import lines
from tests.hub import clients
from tests.hub.layouts import HubTree
from tests.neuronpedia import rows
from tests.neuronpedia.conftest import KEY
from tests.neuronpedia.servers import Api, Bucket

DESCRIPTION = "mathematical equations involving variables and functions"
HOOK = "blocks.7.hook_resid_pre"

BEFORE = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
warnings.simplefilter("error", UserWarning)
device, shown = "cpu", []
"""
# What is said of the objects that the lines show; then the same analyzer with nobody to ask.
AFTER = """
import json, os, sys
description, page, *figures = shown
assert all(figure._repr_png_().startswith(b"\\x89PNG") for figure in figures)
assert "matplotlib.pyplot" not in sys.modules or sys.modules["matplotlib.pyplot"].get_fignums() == []
facts = {"description": description, "frame": page._repr_html_(), "src": page.src}
facts["titles"] = [figure.get_suptitle() for figure in figures]
facts["axes"] = [[ax.get_xlabel() + "|" + ax.get_ylabel() for ax in figure.axes] for figure in figures]
facts["coverage"] = str(sae_analyzer.feature_info.coverage)
facts["list"] = sae_analyzer.quick_list([0, 3])
facts["model"] = type(model).__name__
sae_analyzer.plot_logit_distr_kurtosis(save_path="kurtosis.pdf")
sae_analyzer.logit_distr().to_pickle("moments.pickle")
os.environ["NEURONPEDIA_URL"] = os.environ["NEURONPEDIA_BUCKET_URL"] = "http://127.0.0.1:9"
local = sae_analyzer.get_feature_page(0, save_path="page.html")
unasked = sae_analyzer.get_feature_page(5)
facts["why"] = [local.why, unasked.why]
facts["reprs"] = [repr(part) for part in (sae_analyzer, sae_analyzer.feature_info, local, page)]
again = SAEfeatureAnalyzer(sae_model)  # its explanations are in the cache
facts["again"] = again.feature_info[0]["description"]
json.dump(facts, open("facts.json", "w"))
"""


@pytest.mark.slow
def test_the_lines_run_unchanged(
    notebook_environment: dict[str, str], bucket: Bucket, api: Api, hub_tree: HubTree, tmp_path: Path
) -> None:
    explained = [rows.explanation(0, DESCRIPTION), rows.explanation(3, "<script>alert(1)</script>")]
    rows.fill(bucket, "explanations", explained)
    api.features[rows.MODEL, rows.SOURCE, "0"] = rows.feature(0)
    code = BEFORE + lines.collected(lines.GPT2) + AFTER
    told = clients.run(code, notebook_environment, tmp_path / "work", fork=False)

    facts = json.loads((tmp_path / "work/facts.json").read_text())
    assert facts["model"] == "HookedTransformer"
    assert facts["description"] == facts["again"] == DESCRIPTION
    assert facts["coverage"] == "2 of 32 features"
    assert facts["src"] == f"{api.url}/gpt2-small/7-res-jb/0?embed=true" and facts["src"] in facts["frame"]
    assert all(HOOK in title for title in facts["titles"])
    assert "skewness" in facts["axes"][0][0] and "kurtosis" in facts["axes"][1][0]
    assert "kurtosis (log scale)" in facts["axes"][2][0] and facts["axes"][2][1].startswith("|std")
    assert (tmp_path / "work/kurtosis.pdf").read_bytes().startswith(b"%PDF")

    page = (tmp_path / "work/page.html").read_text()
    assert DESCRIPTION in page and "Feature 0 of" in page
    assert facts["why"][0] == "It was asked for in place of Neuronpedia's."
    assert "127.0.0.1:9" in facts["why"][1] and "cannot be read" in facts["why"][1]
    # One listing and one batch, once for all; the API was asked for one page.
    assert len(bucket.requests) == 2 and api.paths == ["/api/feature/gpt2-small/7-res-jb/0"]
    assert api.requests[0].key == KEY and not [request for request in bucket.requests if request.key]
    written = [*(tmp_path / "work").iterdir(), *(tmp_path / "xdg").rglob("*.json")]
    assert KEY not in told + "".join(path.read_text(errors="replace") for path in written)
    compare_moments(pd.read_pickle(tmp_path / "work/moments.pickle"), hub_tree)


def compare_moments(found: pd.DataFrame, tree: HubTree) -> None:
    """With the moments of W_dec @ W_U from the files of the hub, folded by hand, in float64."""
    sae = tree.saes["gpt2-small-res-jb", HOOK]
    gain, embedding = (tree.model[name].double() for name in ("ln_f.weight", "wte.weight"))
    W_U = (embedding * gain).T
    W_U = W_U - W_U.mean(0)
    logits = sae.loaded.double() @ (W_U - W_U.mean(1, keepdim=True))
    z = (logits - logits.mean(1, keepdim=True)) / logits.std(1, correction=0, keepdim=True)
    expected = {
        "std": logits.std(1, correction=0),
        "skewness": z.pow(3).mean(1),
        "kurtosis": z.pow(4).mean(1),
        "norm": sae.loaded.double().norm(dim=1),
        "log10_density": sae.log_sparsity.double(),
    }
    for name, values in expected.items():
        torch.testing.assert_close(
            torch.tensor(found[name].to_numpy()).double(), values, rtol=1e-4, atol=1e-5
        )
