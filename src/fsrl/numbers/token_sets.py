"""The headlines about token sets: discoveries, tests of nothing, and what types cover (see
`fsrl.numbers.headlines`).
"""

import math

from fsrl.enrichment.coverage_sums import ANY, by_label
from fsrl.latex import text as tex
from fsrl.numbers.headlines import StudyTables, extremes, headline
from fsrl.numbers.study import layer_name, typed_features, typed_shares


@headline("pairs", "discoveries")
def pairs(tables: StudyTables) -> dict[str, str]:
    """Tests of a feature against a token set, and how many are significant (BH over the study), by sign and
    layer.
    """
    frame = tables.frame("discoveries")
    found = (frame["promoted"] + frame["suppressed"]).set_axis(frame["sae"])
    total = int(frame["tests"].sum())
    return extremes(found, tex.count, layer_name) | {
        "sets": tex.count(int(frame["sets"].max())),
        "tests": tex.count(total),
        "promoted": tex.count(int(frame["promoted"].sum())),
        "suppressed": tex.count(int(frame["suppressed"].sum())),
        "shuffled": tex.number(frame["shuffled"].sum(), digits=1),
        "turned": tex.number(frame["turned"].sum(), digits=1),
        "share": tex.percent(found.sum() / total, digits=2),
        "features": tex.count(int(frame["features"].sum())),
    }


NOMINAL, STRICT = 0.05, 1e-4  # the levels at which tests of nothing are counted
TESTS = {"own": "log10_p", "student": "log10_p_t", "textbook": "log10_p_z"}


@headline("null-tests", "null_p_values")
def null_tests(tables: StudyTables) -> dict[str, str]:
    """Tests where there is nothing to find, of decoders turned at random and of shuffled sets: how many,
    which share of them each test calls significant at two nominal levels, and whether that keeps the level.
    """
    frame = tables.frame("null_p_values")
    values = {"level": tex.percent(NOMINAL, digits=0), "strict": tex.percent(STRICT, digits=2)}
    for kind, rows in frame.groupby("kind"):
        values[f"{kind}.tests"] = tex.count(len(rows))
        for name, column in TESTS.items():
            p = rows[column].dropna()
            for end, level, digits in (("", NOMINAL, 1), (".strict", STRICT, 2)):
                share = float((p < math.log10(level)).mean())
                values[f"{kind}.{name}{end}"] = tex.percent(share, digits=digits)
                values[f"{kind}.{name}{end}.verdict"] = _of_level(share, level)
    return values


def _of_level(share: float, level: float) -> str:
    """What a test does at a level, of which it gives this share where there is nothing to find."""
    if share <= level:
        return "keeps its level"
    return "nearly keeps its level" if share <= 1.5 * level else "exceeds its level"


# Kind of nothing -> where it is made.
NOTHING = {"turned": "where rows are turned", "shuffled": "where sets are shuffled"}


@headline("null-level", "null_level")
def null_level(tables: StudyTables) -> dict[str, str]:
    """Repetitions of the whole test where there is nothing to find, of decoders turned at random and of
    shuffled sets, over all hooks: how many, in how many a null of each row's own and Student's t discover
    anything, and where the first does so no more often than its level allows (verdict).
    """
    frame = tables.frame("null_level")
    whole = frame[frame["sae"].isna() & frame["tokens"].isna()].set_index("kind")
    values: dict[str, str] = {}
    columns = {"repetitions": "repetitions", "own": "wrong", "student": "wrong_student"}
    for kind in NOTHING:
        for name, column in columns.items():
            values[f"{kind}.{name}"] = tex.count(int(whole.at[kind, column]))
    kept = [where for kind, where in NOTHING.items() if whole.at[kind, "kept"]]
    broken = [where for where in NOTHING.values() if where not in kept]
    if not broken:
        return values | {"verdict": f"keeps its level both {' and '.join(kept)}"}
    if not kept:
        return values | {"verdict": f"exceeds its level both {' and '.join(broken)}"}
    return values | {"verdict": f"keeps its level {kept[0]} and exceeds it {broken[0]}"}


@headline("coverage", "set_coverage", "summary")
def coverage(tables: StudyTables) -> dict[str, str]:
    """Features with a significant set, and how many of them have a type: most, or less than half (verdict),
    and which share would if each were any feature of its hook (base); which share of the features with a type
    has a set (of-typed); the set of most features without a type.
    """
    frame = tables.frame("set_coverage")
    found = by_label(frame)
    whole, sets = found.loc[ANY], found.drop(index=ANY)
    of_hook = frame[frame["set"].isna()].groupby("sae")["features"].sum()
    typed, shares = typed_features(tables.summary), typed_shares(tables.summary)
    base = (of_hook * shares).sum() / of_hook.sum() if of_hook.sum() else math.nan
    of_typed = whole["typed"] / typed.sum() if typed.sum() else math.nan
    most = "find" if whole["share"] > 0.5 else "miss"
    missed = sets.loc[sets["untyped"].idxmax()]
    return {
        "features": tex.count(int(whole["significant"])),
        "typed": tex.count(int(whole["typed"])),
        "verdict": f"{most} most of",
        "share": tex.percent(whole["share"]) if whole["significant"] else tex.MISSING,
        "base": tex.percent(base),
        "of-typed": tex.percent(of_typed),
        "missed.set": tex.escape(str(missed.name)),
        "missed.untyped": tex.count(int(missed["untyped"])),
        "missed.features": tex.count(int(missed["significant"])),
    }


HEADLINES = (pairs, null_tests, null_level, coverage)
