"""The notebook's lines on the embedded study, without any network."""

import socket
import warnings
from pathlib import Path

import pytest
import torch

from fsrl.analyzer.pages import LocalPage
from fsrl.explanations.local import LOCAL_MODEL
from fsrl.names import BOUNDING, SHARED
from tests.api import lines

ROOT = Path(__file__).parents[2]


@pytest.fixture
def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the embedded study needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.slow
def test_the_lines_run_and_show_what_was_made_here(
    monkeypatch: pytest.MonkeyPatch, without_network: None, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    names: dict = {"device": "cpu", "shown": []}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        exec(lines.collected(lines.EMBEDDED), names)
    analyzer, (description, page, *figures) = names["sae_analyzer"], names["shown"]
    assert analyzer.feature_info[0]["explanationModelName"] == LOCAL_MODEL
    assert len(analyzer.feature_info) == names["cfg_dict"]["d_sae"]
    assert "made here" in repr(analyzer.feature_info)
    assert "highest logit weights" in description or "tokens of" in description

    assert isinstance(page, LocalPage) and "does not host" in page.why
    assert LOCAL_MODEL in page.html and "evaluation_text.txt, 128 contexts" in page.html
    top = analyzer.tables.extremes(analyzer.view, [0])["token"].iloc[0]
    assert top.removeprefix("\u0120") in page.html

    # Where the workflow has built the study here, a plot shows what bounds the types, else a few directions.
    built = analyzer.tables.built(analyzer.view) is not None
    kinds = BOUNDING if built else [SHARED]
    for figure in figures:
        legend = " ".join(text.get_text() for text in figure.legends[0].get_texts())
        title = figure.get_suptitle()
        assert title.startswith("mini") and f"{len(analyzer.feature_info):,} features" in title
        assert all(kind in legend for kind in kinds)
    steer(analyzer, names["sae"], tmp_path)


def steer(analyzer, sae, folder: Path) -> None:
    """A vector of the adapter's own, in the table and the figure."""
    with torch.no_grad():
        for parameter in sae.get_trainable_parameters():
            parameter.normal_(std=0.1)
    vector = sae.get_steering_vector(torch.randn(3, sae.cfg.d_in))
    table = analyzer.get_steered_features_info(vector, top_k=4)
    assert table["feature"].tolist() == vector.abs().mean(0).argsort(descending=True)[:4].tolist()
    assert table["description"].notna().all() and table["type"].notna().all()
    analyzer.plot_steered_features(vector, save_path=folder / "steered.png")
    assert (folder / "steered.png").stat().st_size > 1000
