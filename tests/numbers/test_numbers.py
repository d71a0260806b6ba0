"""The paper's numbers: recomputed by a naive route, asked for by the prose, typed nowhere."""

import json
import math
import re
import runpy
from pathlib import Path

import pandas as pd
import pytest

from fsrl.numbers import evidence as numbers_evidence
from tests.fixtures import synthetic_study as synthetic
from tests.fixtures.naive_numbers import TYPES, Naive
from tests.fixtures.paper_numbers import SOURCES, fixed_values, read

ROOT = Path(__file__).parents[2]
MINI = [f"blocks.{n}.hook_resid_pre" for n in range(6)] + ["blocks.5.hook_resid_post"]

MODEL = "models/mini-model"
FILES = {"null_counts": "type_null_counts"}


def mini_tables(results: Path) -> dict[str, object]:
    """The tables of the study `mini` in a folder of results."""
    folder, of_model = results / "mini", results / MODEL
    given = {
        name: [folder / sae / f"trained/{FILES.get(name, name)}.parquet" for sae in MINI]
        for name in ("moments", "thresholds", "null_counts")
    }
    places = {
        "summary": "summary/trained.tsv",
        "other_summary": "summary/main.tsv",
        "discoveries": "discoveries/trained.parquet",
        "set_coverage": "set_coverage/trained.parquet",
        "claim_tests": "claims/trained.parquet",
        "claims": "claims/trained_summary.parquet",
        "sensitivity": "sensitivity/trained.parquet",
        "agreement": "sensitivity/trained_agreement.parquet",
        "stability": "sensitivity/trained_stability.parquet",
        "effects": "summary/effects_summary.parquet",
        "by_hook": "summary/effects_by_hook.parquet",
        "null_p_values": "null_p_values/trained.parquet",
        "null_level": "null_p_values/trained_level.parquet",
        "forecasts": "summary/steering.parquet",
        "next_token": "summary/next_token.parquet",
        "recovery": "planted/recovery.parquet",
        "ablations": "ablations.parquet",
    }
    of_mini = {"tokens": "tokens", "null": "nulls/trained", "other_null": "nulls/main"}
    given |= {name: of_model / f"{place}.parquet" for name, place in of_mini.items()}
    given["dictionaries"] = of_model / "dictionaries.tsv"
    return given | {name: folder / place for name, place in places.items()}


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> tuple[dict[str, str], Naive]:
    results = tmp_path_factory.mktemp("results")
    values = read(synthetic.write(results), synthetic.STUDY, synthetic.SAES)
    return values, Naive(results, synthetic.STUDY, synthetic.SAES, "trained", "calibrated")


@pytest.fixture(scope="module")
def mini(built_mini: Path) -> tuple[dict[str, str], Naive]:
    results = built_mini / "results"
    naive = Naive(results, "mini", MINI, "trained", "calibrated", MODEL)
    return read(mini_tables(results), "mini", MINI), naive


@pytest.fixture(params=["made_up", pytest.param("mini", marks=pytest.mark.slow)])
def both(request) -> tuple[dict[str, str], Naive]:
    return request.getfixturevalue(request.param)


def shown(text: str) -> float:
    r"""The figure of \num{...}, per cent as they are."""
    return float(re.fullmatch(r"\\num\{(.*?)\}(?:\\%)?", text)[1])


def assert_range(
    values: dict[str, str], key: str, naive: dict[str, float], digits: int, factor: float = 1
) -> None:
    assert shown(values[f"{key}.least"]) == pytest.approx(
        factor * min(naive.values()), abs=0.51 * 10**-digits
    )
    assert shown(values[f"{key}.most"]) == pytest.approx(factor * max(naive.values()), abs=0.51 * 10**-digits)


def test_shares_beyond_the_nulls(both):
    values, naive = both
    for column in ("kurtosis", "skewness"):
        for kind, every in (("isotropic", False), ("every", True)):
            assert_range(values, f"{column}-{kind}", naive.beyond(column, every=every), 1, 100)
    assert_range(values, "right-skewed", naive.right_skewed(), 1, 100)
    beyond = {}
    for kind, every in (("isotropic", False), ("every", True)):
        shares = naive.beyond("kurtosis", every=every)
        beyond[kind] = sum(round(share * naive.size(sae)) for sae, share in shares.items())
        assert shown(values[f"shape.{kind}"]) == beyond[kind]
    both_nulls, one = (naive.beyond("kurtosis", every=every) for every in (True, False))
    assert shown(values["shape.lost"]) == sum(both_nulls[sae] < one[sae] for sae in one)
    assert shown(values["shape.measured"]) == len(naive.saes)


def test_types(both):
    values, naive = both
    labels = naive.labels()
    total = sum(sum(of.values()) for of in labels.values())
    assert shown(values["typed.total"]) == total
    assert shown(values["typed.share"]) == pytest.approx(100 * total / naive.features(), abs=0.051)
    assert shown(values["typed.expected"]) == pytest.approx(naive.expected(), abs=0.051)
    shares = {sae: sum(of.values()) / naive.size(sae) for sae, of in labels.items()}
    most = sum(labels[max(shares, key=shares.get)].values())
    assert shown(values["typed.most.of-all"]) == pytest.approx(100 * most / total, abs=0.051)
    for name in TYPES:
        of = [found[name] for found in labels.values()]
        key = f"type.{name.replace('_', '-')}"
        assert (shown(values[f"{key}.total"]), shown(values[f"{key}.most"])) == (sum(of), max(of))


def test_counts(both):
    values, naive = both
    assert shown(values["features.total"]) == naive.features()
    assert shown(values["layers"]) == len(naive.saes)
    assert shown(values["tokens.left-out"]) == naive.left_out()
    found = tuple(shown(values[f"pairs.{name}"]) for name in ("tests", "promoted", "suppressed"))
    assert found == naive.significant()
    for kind in ("isotropic", "spectrum"):
        assert shown(values[f"decided.{kind.replace('_', '-')}"]) == naive.decided_by(kind)
    for name in TYPES:
        for place, factor in (("loosest", 4.0), ("config", 1.0), ("strictest", 0.02)):
            at = shown(values[f"level.{place}.{name.replace('_', '-')}"])
            assert at == naive.members_at(factor, name)
            given = shown(values[f"level.{place}.{name.replace('_', '-')}.expected"])
            assert given == pytest.approx(naive.chance_at(factor, name), abs=0.051)


def test_ablations(both):
    values, naive = both
    parts = int(shown(values["ablation.parts"]))
    found = [naive.ablated(f"{parts} parts", part) for part in range(parts)]
    counts = [count for count, _ in found]
    assert shown(values["ablation.parts.least"]) == min(counts)
    assert shown(values["ablation.parts.most"]) == max(counts)
    overlap = sum(one for _, one in found) / parts
    assert shown(values["ablation.parts.jaccard"]) == pytest.approx(overlap, abs=0.0051)
    for kind in ("isotropic", "spectrum"):
        case = f"{kind} alone"
        assert shown(values[f"ablation.alone.{kind}"]) == naive.ablated(case, 0)[0]
        given = shown(values[f"ablation.alone.{kind}.expected"])
        assert given == pytest.approx(naive.typed_by_chance(case), abs=0.051)
    cases = {"own": "folded, trained", "w-u": "raw, trained", "both": "raw, all"}
    for name, case in cases.items():
        count, overlap = naive.ablated(case, 0)
        assert shown(values[f"ablation.reading.{name}"]) == count
        assert shown(values[f"ablation.reading.{name}.jaccard"]) == pytest.approx(overlap, abs=0.0051)


def test_tests_of_nothing(both):
    values, naive = both
    for name, column in (("own", "log10_p"), ("student", "log10_p_t"), ("textbook", "log10_p_z")):
        for kind in ("turned", "shuffled"):
            key = f"null-tests.{kind}.{name}"
            assert shown(values[key]) == pytest.approx(100 * naive.below(0.05, column, kind), abs=0.051)
            assert (values[f"{key}.verdict"] == "keeps its level") == (
                naive.below(0.05, column, kind) <= 0.05
            )
            strict = 100 * naive.below(1e-4, column, kind)
            assert shown(values[f"{key}.strict"]) == pytest.approx(strict, abs=0.0051)


def test_repetitions_of_nothing(both):
    values, naive = both
    for kind in ("turned", "shuffled"):
        (whole,) = naive.repeated(kind)
        columns = {"repetitions": "repetitions", "own": "wrong", "student": "wrong_student"}
        for name, column in columns.items():
            assert shown(values[f"null-level.{kind}.{name}"]) == whole[column]


def test_features_with_a_set(both):
    values, naive = both
    significant, typed = naive.with_a_set()
    share = {sae: sum(of.values()) / naive.size(sae) for sae, of in naive.labels().items()}
    whole = sum(significant.values())
    assert shown(values["coverage.features"]) == whole
    assert shown(values["coverage.share"]) == pytest.approx(100 * sum(typed.values()) / whole, abs=0.051)
    base = sum(count * share[sae] for sae, count in significant.items()) / whole
    assert shown(values["coverage.base"]) == pytest.approx(100 * base, abs=0.051)
    of_typed = sum(typed.values()) / sum(sum(of.values()) for of in naive.labels().values())
    assert shown(values["coverage.of-typed"]) == pytest.approx(100 * of_typed, abs=0.051)


def test_claims(both):
    values, naive = both
    assert shown(values["claim-tests"]) == naive.family()
    for verdict in ("holds", "contradicted", "undecided", "cannot speak", "by definition"):
        assert shown(values[f"claims.default.{verdict.replace(' ', '-')}"]) == naive.verdict(verdict)


def test_effects(both):
    values, naive = both
    for key, column in (("effect", "pearson"), ("effect-random", "random"), ("effect-matched", "matched")):
        assert_range(values, key, naive.agreement(column), 2)
    for key, prediction in (("effect-transported", "transported"), ("effect-own", "own_mean")):
        assert_range(values, key, naive.predicted(prediction, "pearson"), 2)
    assert_range(values, "effect-transported.slope", naive.predicted("transported", "slope"), 2)
    better = naive.predicted("transported", "over_direct_low").values()
    assert shown(values["effect-transported.better"]) == sum(low > 0 for low in better)
    nearer = 2 * sum(low > 0 for low in better) > len(better)
    assert (values["effect-transported.verdict"] == "come nearer to the model") == nearer
    mine, corrected = (naive.predicted(name, "pearson") for name in ("transported", "corrected"))
    over = sum(mine[sae] > corrected[sae] for sae in mine)
    assert shown(values["effect-transported.over-corrected"]) == over
    below = naive.predicted("transported", "over_matched_high").values()
    assert shown(values["effect-transported.below-matched"]) == sum(high < 0 for high in below)
    assert shown(values["effect-difference.less"]) == naive.worse_than_random()
    not_more = sum(low <= 0 for low in naive.agreement("difference_low").values())
    assert shown(values["effect-difference.not-more"]) == not_more


def test_forecasts_of_steering(both):
    values, naive = both
    direct, random = (naive.forecasts(direction, "direct") for direction in ("feature", "random"))
    for key, rows in (("forecast", direct), ("forecast.random", random)):
        assert_range(values, key, {sae: row["spearman"] for sae, row in rows.items()}, 2)
    real = [sae for sae in direct if min(direct[sae]["spearman"], random[sae]["spearman"]) <= 0.999]
    assert 0 < len(real) < len(direct)  # after the last block the forecast is the score
    better = sum(direct[sae]["spearman_over_random_low"] > 0 for sae in real)
    moved = [naive.forecasts("feature", "transported")[sae] for sae in real]
    gained = sum(row["spearman_gain_low"] > 0 for row in moved)
    lost = sum(row["spearman_gain_high"] < 0 for row in moved)
    counts = {"measured": len(real), "better": better, "no-better": len(real) - better}
    counts |= {"transported.measured": len(moved), "transported.better": gained, "transported.worse": lost}
    assert {name: shown(values[f"forecast.{name}"]) for name in counts} == counts


def test_verdicts_on_forecasts_are_read_off_the_intervals(made_up):
    values, _ = made_up
    assert [shown(values[f"forecast.{name}"]) for name in ("measured", "better", "no-better")] == [2, 1, 1]
    assert values["forecast.verdict"] == r"better than random directions at \num{1} of \num{2} hooks"
    assert shown(values["forecast.transported.worse"]) == 1
    no_better = r"no better than {} at any of \num{{2}} hooks"
    assert values["forecast.transported.verdict"] == no_better.format("direct ones")
    every = r"better than chance at \num{2} of \num{2} hooks"
    for at, said in (([True] * 2, every), ([False] * 2, no_better.format("chance")), ([], "--")):
        assert numbers_evidence._better(pd.Series(at, dtype=bool), "chance") == said


def test_planted(both):
    values, naive = both
    for key, share in (("few", 0.01), ("many", 0.15)):
        assert shown(values[f"planted.{key}.share"]) == 100 * share
        for population, prefix in (("all", key), ("clear", f"{key}.clear")):
            for score in ("precision", "recall"):
                expected = 100 * naive.pooled(score, share, population)
                assert shown(values[f"planted.{prefix}.{score}.pooled"]) == pytest.approx(expected, abs=0.051)
    assert (shown(values["planted.strength"]), shown(values["planted.share"])) == (6, 5)
    asked = {name.replace("_", "-"): ("all", name) for name in TYPES} | {"even": ("even", "partition")}
    for key, (population, name) in asked.items():
        at = {"planted_share": 0.05, "strength": 6.0, "population": population, "type": name}
        (row,) = naive.planted(**at)
        for score in ("precision", "recall"):
            if row[score] is None or math.isnan(row[score]):  # nothing of this type was planted, or found
                assert values[f"planted.{key}.{score}"] == "--"
                continue
            assert shown(values[f"planted.{key}.{score}"]) == pytest.approx(100 * row[score], abs=0.51)
            low = re.search(r"-?[\d.]+", values[f"planted.{key}.{score}.interval"])
            assert float(low[0]) == pytest.approx(100 * row[f"{score}_low"], abs=0.51)
    weaker = [
        row
        for row in naive.planted(planted_share=0.05, population="all", type="local_context")
        if row["strength"] < 6
    ]
    precision = sum(row["correct"] for row in weaker) / sum(row["labelled"] for row in weaker)
    found = shown(values["planted.weaker.local-context.precision"])
    assert found == pytest.approx(100 * precision, abs=0.51)
    everything = naive.planted(population="all")
    assert shown(values["planted.two-sided"]) == sum(row["two_sided"] for row in everything)
    assert shown(values["planted.plants"]) == sum(row["planted"] for row in everything)


COMMANDS = {
    "val": None,
    "valrange": None,
    "defd": "defined",
    "cfg": "config",
    "spd": "speed",
    "emb": "embedded",
}
ASKED = re.compile(r"\\(val|valrange|defd|cfg|spd|emb)\{([^{}]+)\}|\\fsrlnumber\{#1\}\{([^{}#]+)\}")
# Counts of a type with what chance gives, in a row of a table.
COUNTED = re.compile(r"\\counted\{#1\}\{([\w-]+)\}")


def test_every_number_that_the_prose_asks_for_is_there(made_up):
    known = fixed_values()
    lacking = []
    for source in SOURCES:
        if source.name == "preamble.tex":
            continue
        for command, key, of_study in ASKED.findall(source.read_text()):
            namespace = COMMANDS[command] if command else None
            key = f"{key}.range" if command == "valrange" else key or of_study
            if key not in (known[namespace] if namespace else made_up[0]):
                lacking.append(f"{source.name}: {namespace or 'study'}/{key}")
        for name in COUNTED.findall(source.read_text()):
            keys = f"type.{name}.total", f"type.{name}.expected"
            lacking += [f"{source.name}: study/{key}" for key in keys if key not in made_up[0]]
    assert not lacking


ROWS_OF_STAGES = re.compile(r"\\claimrow\{.*\}\{([a-z-]+)\}\{(\w+)\}\n")


def test_the_minutes_of_a_finding_are_those_of_its_rule_s_stage():
    """benchmarks/stages.py says of which stage a rule is."""
    of_source = runpy.run_path(str(ROOT / "benchmarks/stages.py"))
    rows = ROWS_OF_STAGES.findall((ROOT / "paper/appendix_reproduce.tex").read_text())
    saved = json.loads((ROOT / "benchmarks/results/stages_cpu.json").read_text())["stages"]
    known = fixed_values()["stages"]
    assert len(rows) > 10
    for stage, rule in rows:
        name = of_source["stage_of"](rule)
        assert stage == name.replace(", ", "-").replace(" ", "-"), rule
        assert shown(known[stage]) == pytest.approx(saved[name]["seconds"] / 60, abs=0.051)


def test_every_section_of_the_config_that_the_prose_asks_for_is_given_to_it():
    """By the rule: what the tests read (`fixed_values`) is the whole config."""
    rules = (ROOT / "workflow/rules/paper.smk").read_text()
    given = set(re.findall(r'"(\w+)"', re.search(r"PAPER_CONFIG = \{.*?\n\}", rules, re.DOTALL)[0]))
    keys = {
        key for path in SOURCES for command, key, _ in ASKED.findall(path.read_text()) if command == "cfg"
    }
    assert {key.split(".")[0] for key in keys} - {"rules", "#1"} <= given


# What may hold a digit: names, places, and definitions in formulas; no number above 4 stands in a formula.
ALLOWED = [
    re.compile(r"(?<!\\)%.*"),
    re.compile(
        r"\\(?:input|label|ref|eqref|cite|citet|citep|place|studyfigure|studytable)(?:\[[^]]*\])?\{[^{}]*\}"
    ),
    re.compile(
        r"\\(?:val|valrange|defd|cfg|spd|emb|fsrlnumber|fsrlpart|ifpart|ifstudybuilt|counted)\{[^{}]*\}(?:\{[^{}]*\})?"
    ),
    re.compile(
        r"\\(?:documentclass|usepackage|cmidrule|multicolumn|adjustbox)(?:\[[^]]*\]|\([^)]*\)|\{[^{}]*\})+"
    ),
    re.compile(r"\\newcommand\{[^{}]*\}\[[1-4]\]|\*\{\d\}|arraystretch\}\{[\d.]+\}"),
    re.compile(r"-?\d*\.?\d+(?:mm|pt|em)\b"),  # lengths
    re.compile(r"#\d|-cores 8|GPT-2"),
    re.compile(r"\$[^$5-9]*\$|\\begin\{(equation|gather)\}[^5-9]*?\\end\{\1\}"),
]


def typed_digits(text: str) -> list[str]:
    for allowed in ALLOWED:
        text = allowed.sub(" ", text)
    return [line.strip() for line in text.splitlines() if re.search(r"\d", line)]


@pytest.mark.parametrize(
    "source", [path for path in SOURCES if path.name != "preamble.tex"], ids=lambda path: path.name
)
def test_no_result_is_typed(source):
    assert typed_digits(source.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "a correlation of 0.93",
        r"kurtosis rises to $\kappa = 7.9$ there",
        r"\val{typed.share}, or 114 features,",
        r"reaches 58\% of tests",
        r"\caption{All 7 layers.}",
    ],
)
def test_a_typed_result_is_seen(text):
    assert typed_digits(text)


def test_words_for_numbers_of_results_are_not_typed_either():
    """Number words above four would be results in disguise; definitions have four of a thing at most."""
    words = re.compile(
        r"\b(?:five|six|seven|eight|nine|ten|eleven|twelve|twenty|hundred|thousand)\b", re.IGNORECASE
    )
    found = [f"{path.name}: {match[0]}" for path in SOURCES for match in words.finditer(path.read_text())]
    assert found == []
