"""Where everything lies in the drawing of a histogram of logit weights, in px of a drawing 640 wide."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from fsrl.pages.facts import FeatureFacts
from fsrl.pages.text import MINUS, is_number, number

WIDTH, HEIGHT = 640, 264
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 20, 46
BASE = 0.5  # tokens: foot of the logarithmic axis, so that one token is seen
BEYOND = 0.045  # share of the drawing's width that is kept for the bar of tokens beyond the bins, at each end


@dataclass(frozen=True)
class Bar:
    """A bar's corner and size, what it says when pointed at, and whether it stands for tokens beyond."""

    x: float
    y: float
    width: float
    height: float
    says: str
    beyond: bool = False


@dataclass(frozen=True)
class Histogram:
    """Bars, ticks (place, label) on both axes, the bell's path, the place of zero (None: not in range)."""

    bars: list[Bar]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    bell: str
    zero: float | None
    total: int


def drawing(facts: FeatureFacts) -> Histogram | None:
    """The drawing; None where there is nothing to draw: no bins, no tokens, or a constant row."""
    edges = np.asarray(facts.histogram_edges, dtype=float)
    counts = np.asarray(facts.histogram_counts, dtype=float)
    total = int(counts.sum()) + facts.underflow + facts.overflow
    if not len(counts) or not total or not np.isfinite(edges).all() or not edges[-1] > edges[0]:
        return None
    tallest = max(counts.max(), facts.underflow, facts.overflow)
    axes = _Axes(edges[0], edges[-1], tallest)
    bars = [
        axes.bar(axes.x(low), axes.x(high), count, f"{number(low)} to {number(high)}: {_tokens(count)}")
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    ]
    ends = (
        (facts.underflow, LEFT, LEFT + axes.margin, f"below {number(edges[0])}"),
        (facts.overflow, WIDTH - RIGHT - axes.margin, WIDTH - RIGHT, f"{number(edges[-1])} or more"),
    )
    bars += [axes.bar(x, end, n, f"{says}: {_tokens(n)}", beyond=True) for n, x, end, says in ends if n]
    zero = axes.x(0) if edges[0] <= 0 <= edges[-1] else None
    return Histogram(
        bars, axes.x_ticks(), axes.y_ticks(), _bell(axes, edges, total, facts.moments), zero, total
    )


class _Axes:
    """The linear axis of weights and the logarithmic one of tokens."""

    def __init__(self, low: float, high: float, tallest: float) -> None:
        self.low, self.high = low, high
        self.ceiling = math.log10(1.5 * tallest / BASE)
        self.margin = BEYOND * (WIDTH - LEFT - RIGHT)

    def x(self, weight: float) -> float:
        inner = WIDTH - LEFT - RIGHT - 2 * self.margin
        return LEFT + self.margin + inner * (weight - self.low) / (self.high - self.low)

    def y(self, tokens: float) -> float:
        share = math.log10(max(tokens, BASE) / BASE) / self.ceiling
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def bar(self, left: float, right: float, tokens: float, says: str, *, beyond: bool = False) -> Bar:
        y = self.y(tokens)
        return Bar(left, y, right - left, HEIGHT - BOTTOM - y, says, beyond)

    def x_ticks(self) -> list[tuple[float, str]]:
        """Place and label of each tick of the logit weights."""
        values = MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        step = values[1] - values[0]
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        inside = [value for value in values if self.low <= value <= self.high]
        if decimals > 5 or step >= 1e6:
            return [(self.x(value), f"{value:.3g}".replace("-", MINUS)) for value in inside]
        # + 0.0: no minus before a zero.
        return [(self.x(v), f"{round(v, decimals) + 0.0:,.{decimals}f}".replace("-", MINUS)) for v in inside]

    def y_ticks(self) -> list[tuple[float, str]]:
        """Place and label of each decade of tokens."""
        decades = range(math.floor(math.log10(BASE) + self.ceiling) + 1)
        step = 1 if len(decades) <= 5 else 2
        return [(self.y(10**decade), f"{10**decade:,}") for decade in decades[::step]]


def _bell(axes: _Axes, edges: np.ndarray, total: int, moments: dict[str, Any]) -> str:
    """Path of a Gaussian with the feature's mean and std, in tokens a bin, as far as it is in the drawing."""
    mean, std = moments.get("mean"), moments.get("std")
    if mean is None or std is None or not is_number(mean) or not is_number(std) or std <= 0:
        return ""
    width = (edges[-1] - edges[0]) / (len(edges) - 1)
    points = []
    for weight in np.linspace(edges[0], edges[-1], 161):
        tokens = total * width / std * math.exp(-(((weight - mean) / std) ** 2) / 2) / math.sqrt(2 * math.pi)
        if tokens >= BASE:
            points.append(f"{axes.x(weight):.1f},{axes.y(tokens):.1f}")
    return "M" + " L".join(points) if points else ""


def _tokens(count: float) -> str:
    return f"{int(count):,} token{'' if count == 1 else 's'}"
