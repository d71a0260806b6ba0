"""What README and docs say of effects and steering is what the tables of the built study say."""

import json
from pathlib import Path

import pandas as pd
import pytest

from fsrl.effects.names import CORRECTED, DIRECT, FEATURE, MATCHED, OWN_MEAN, RANDOM, TRANSPORTED

ROOT = Path(__file__).parents[2]


def text(name: str) -> str:
    """A page in one line."""
    return " ".join((ROOT / name).read_text().split())


def short(value: float, digits: int) -> str:
    """Without the zero before the point."""
    return f"{value:.{digits}f}".removeprefix("0")


@pytest.fixture(scope="module")
def summaries(built_mini: Path) -> Path:
    return built_mini / "results/mini/summary"


def by_hook(summaries: Path, direction: str, prediction: str, column: str = "pearson") -> list[float]:
    """Of one unit added where features fire, hook after hook."""
    frame = pd.read_parquet(summaries / "effects_by_hook.parquet")
    asked = {"direction": direction, "prediction": prediction, "state": "active", "step": "+1"}
    for name, value in asked.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 7
    return frame[column].tolist()


@pytest.mark.slow
def test_agreement_by_hook(summaries: Path) -> None:
    direct, moved = (by_hook(summaries, FEATURE, name) for name in (DIRECT, TRANSPORTED))
    ends = f"{direct[0]:.2f} at hook 0 and {direct[-1]:.2f} after the last block"
    assert f"correlation of {ends}" in text("README.md")
    findings = text("docs/explanation/findings.md")
    assert (
        f"rises from {ends.replace(' and ', ' to ')}. A random direction of the same norm reaches" in findings
    )
    last = [by_hook(summaries, direction, DIRECT)[-1] for direction in (RANDOM, MATCHED)]
    assert (
        f"reaches {last[0]:.2f} there" in findings
        and f"with the stream too reaches {last[1]:.2f}" in findings
    )
    assert by_hook(summaries, FEATURE, CORRECTED)[-1] > 0.9999
    assert f"the weights predict {moved[0]:.2f} at hook 0, {moved[1]:.2f} at hook 1 and more from" in findings
    assert min(moved[2:]) > moved[1] > moved[0]
    assert min(by_hook(summaries, FEATURE, TRANSPORTED, "over_direct_low")) > 0
    slopes = by_hook(summaries, FEATURE, TRANSPORTED, "slope")
    assert f"with slopes of {min(slopes):.2f} to {max(slopes):.2f}" in findings
    own = by_hook(summaries, FEATURE, OWN_MEAN)
    assert f"own mean Jacobian gives {own[0]:.2f} and {own[1]:.2f} at hooks 0 and 1" in findings
    gaps = [-gap for gap in by_hook(summaries, FEATURE, TRANSPORTED, "over_matched")]
    assert min(gaps) == gaps[-1] > 0 and max(gaps) == gaps[2]
    assert f"by {gaps[2]:.2f} at hook 2 and {gaps[-1]:.3f} at the last" in findings


@pytest.mark.slow
def test_next_tokens_and_steering(summaries: Path) -> None:
    page = text("docs/explanation/transport.md")
    more = pd.read_parquet(summaries / "next_token.parquet")["difference"].tolist()
    between = f"{short(min(more[1:6]), 2)} to {short(max(more[1:6]), 2)} at hooks 1 to 5"
    assert f"is {short(more[0], 2)} higher under transported weights than under direct ones at hook 0" in page
    assert f"{between}, and {short(-more[-1], 3)} lower after the last block" in page
    forecasts = pd.read_parquet(summaries / "steering.parquet")
    moved = forecasts[(forecasts["direction"] == FEATURE) & (forecasts["weights"] == TRANSPORTED)]
    assert (moved["spearman_gain_low"] > 0).tolist() == [True, True, *[False] * 5]
    assert "better than direct weights do at hooks 0 and 1 only" in page
    direct = forecasts[(forecasts["direction"] == FEATURE) & (forecasts["weights"] == DIRECT)]
    assert (direct["spearman_over_random_low"] > 0).tolist() == [*[False] * 5, True, False]
    assert (moved["spearman_over_random_low"] > 0).tolist() == [*[False] * 4, True, True, False]
    assert "up to hook 3 neither weights forecast it better for features than for random directions" in page
    assert "of their norms, at hook 4 transported ones do and at hook 5 both" in page
    fire = moved["directions"]
    assert f"intervals over the {min(fire)} to {max(fire)} features of a hook's sample that fire" in page


def test_the_mean_change_comes_to_what_t_predicts_where_features_do_not_fire() -> None:
    """What the page says of sites is the saved output of the benchmark, whose table has it too."""
    saved = json.loads((ROOT / "benchmarks/results/transport_sites.json").read_text())
    rows = [row for row in saved if row["step"] == 1.0]
    page, table = text("docs/explanation/transport.md"), (ROOT / "benchmarks/README.md").read_text()
    for state, words in (
        ("inactive", "does not fire the mean change correlates with it by"),
        ("active", "by"),
    ):
        mean = [row["T_mean_of_all"] for row in rows if row["state"] == state]
        first = ", ".join(short(value, 2) for value in mean[:3])
        assert f"{words} {first} and {short(min(mean[3:]), 2)} to {short(max(mean[3:]), 2)}" in page
    for row in rows:
        cells = " | ".join(f"{row[name]:.2f}" for name in ("T", "T_mean_of_12", "T_mean_of_all"))
        line = next(line for line in table.splitlines() if line.startswith(f"| {row['hook']} | "))
        assert cells in line
