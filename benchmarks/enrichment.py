"""Speed and memory of set enrichment at GPT-2's shapes, beside SAELens' enrichment score.

    python benchmarks/enrichment.py [--output FILE.json]

1. z, eta^2, t and log10 p, plain and stratified, of 24576 features x 200 sets x 50257 tokens (d_model 768),
   against the bounds of 10 s and 1 GiB.
2. AUC and signed score of 5000 features x 20 sets, from logit weights as SAELens' `get_enrichment_df` takes
   them, and with the product that makes them. SAELens holds [sets x features x vocabulary], 5 billion entries
   here: it runs on batches of a few features, and its fastest batch is scaled to 5000. The bound is 10 x.

Weights and sets are random: nothing here depends on their values but ties, and rows of ranks without ties
are what both scores are compared on (SAELens' value depends on how its sort leaves ties). Peak memory is that
of the whole process, interpreter, torch, weights and results included, while a part runs.
"""

import argparse
import functools
import json
import os
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsrl.enrichment import scores as enrichment_scores
from fsrl.enrichment import statistics as enrichment

N_FEATURES, D_MODEL, D_VOCAB, N_SETS = 24576, 768, 50257, 200
SCORED_FEATURES, SCORED_SETS, SMALLEST, LARGEST = 5000, 20, 20, 30000
LOGIT_ROWS = 250  # 20 times: 5000 features
REPEATS = 3  # the fastest counts, as for SAELens; all are written down
PEER_BATCHES = (16, 32, 64, 128)
GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    output = parser.parse_args().output
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    generator = torch.Generator().manual_seed(0)
    W_dec = torch.randn(N_FEATURES, D_MODEL, generator=generator)
    W_U = torch.randn(D_MODEL, D_VOCAB, generator=generator)
    result: dict[str, Any] = {"machine": machine()}
    result["statistics"] = statistics(W_dec, W_U, random_sets(N_SETS, generator))
    sets = random_sets(SCORED_SETS, generator)
    result["scores"] = scores(W_dec, W_U, sets)
    del W_dec, W_U
    result["scores"] |= peer(sets, result["scores"], generator)
    text = json.dumps(result, indent=1)
    print(text)
    if output is not None:
        output.write_text(text + "\n")


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cpu": model,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def random_sets(n_sets: int, generator: torch.Generator) -> Tensor:
    """bool [n_sets, D_VOCAB], of 20 to 30000 tokens in equal ratios."""
    sizes = torch.logspace(*torch.tensor([SMALLEST, LARGEST]).double().log10().tolist(), n_sets).long()
    order = torch.rand(n_sets, D_VOCAB, generator=generator).argsort(dim=1)
    return order < sizes.unsqueeze(1)


def measured(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds, peak of the process's memory in GiB while `work` ran, and what it returned."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    start = time.perf_counter()
    value = work()
    seconds = time.perf_counter() - start
    peak = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return seconds, int(peak.split()[1]) * 1024 / GIB, value


def statistics(W_dec: Tensor, W_U: Tensor, sets: Tensor) -> dict[str, Any]:
    strata = torch.arange(D_VOCAB) * 17 // D_VOCAB
    enrichment.set_statistics(W_dec[:64], W_U[:, :2000], sets[:, :2000])  # imports and first calls
    plain = [measured(lambda: enrichment.set_statistics(W_dec, W_U, sets))[:2] for _ in range(REPEATS)]
    stratified = [
        measured(lambda: enrichment.set_statistics(W_dec, W_U, sets, strata=strata))[:2]
        for _ in range(REPEATS)
    ]
    (seconds, _), (both, _) = min(plain), min(stratified)
    peak, both_peak = (max(gib for _, gib in runs) for runs in (plain, stratified))
    return {
        "shape": {"features": N_FEATURES, "sets": N_SETS, "tokens": D_VOCAB, "d_model": D_MODEL},
        "seconds": seconds,
        "peak_gib": peak,
        "all_seconds": [run[0] for run in plain],
        "seconds_with_strata": both,
        "all_seconds_with_strata": [run[0] for run in stratified],
        "peak_gib_with_strata": both_peak,
        "bound_seconds": 10,
        "bound_gib": 1,
        "held": max(seconds, both) <= 10 and max(peak, both_peak) < 1,
    }


def scores(W_dec: Tensor, W_U: Tensor, sets: Tensor) -> dict[str, Any]:
    logits = W_dec[:LOGIT_ROWS] @ W_U
    enrichment_scores.scores_of_logits(logits[:32], sets)
    times = SCORED_FEATURES // LOGIT_ROWS

    def from_logits() -> None:
        for _ in range(times):
            enrichment_scores.scores_of_logits(logits, sets)

    seconds, peak, _ = measured(from_logits)
    chosen = torch.arange(SCORED_FEATURES)
    whole, whole_peak, _ = measured(lambda: enrichment_scores.signed_scores(W_dec, W_U, sets, chosen))
    return {
        "shape": {"features": SCORED_FEATURES, "sets": SCORED_SETS, "tokens": D_VOCAB},
        "members": int(sets.sum()),
        "seconds_from_logits": seconds,
        "peak_gib_from_logits": peak,
        "seconds_with_product": whole,
        "peak_gib_with_product": whole_peak,
    }


def peer(sets: Tensor, ours: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
    """SAELens on its fastest batch, scaled; and how far our scores are from its."""
    warnings.filterwarnings("ignore")
    from sae_lens.tutorial.tsea import get_enrichment_df

    named = {str(index): set(row.nonzero().squeeze(1).tolist()) for index, row in enumerate(sets)}
    best, best_peak, best_batch = float("inf"), 0.0, 0
    for batch in PEER_BATCHES:
        # Ranks: distinct, and exact in float32.
        logits = torch.rand(batch, D_VOCAB, generator=generator).argsort(dim=1).float()
        work = functools.partial(get_enrichment_df, logits, list(range(batch)))
        for _ in range(2):
            seconds, peak, frame = measured(lambda work=work: work(dict(named)))
            if seconds / batch < best:
                best, best_peak, best_batch = seconds / batch, peak, batch
    found = enrichment_scores.scores_of_logits(logits, sets).es.abs()
    seconds = best * SCORED_FEATURES
    ratio = seconds / ours["seconds_from_logits"]
    return {
        "saelens_batch": best_batch,
        "saelens_seconds_scaled_to_5000": seconds,
        "saelens_peak_gib_of_that_batch": best_peak,
        "largest_difference": (torch.from_numpy(frame.to_numpy().T) - found).abs().max().item(),
        "times_faster_from_logits": ratio,
        "times_faster_our_product_included": seconds / ours["seconds_with_product"],
        "bound_times_faster": 10,
        "bound_gib": 1,
        "held": ratio >= 10 and max(ours["peak_gib_from_logits"], ours["peak_gib_with_product"]) < 1,
    }


if __name__ == "__main__":
    main()
