"""pdfLaTeX draws every table of a study of 13 layers, and every token and character: nothing is left out."""

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from fsrl.claims import verdicts
from fsrl.latex import ablations as tex_tables_ablations
from fsrl.latex import claims as tex_tables_claims
from fsrl.latex import counterparts as tex_tables_counterparts
from fsrl.latex import dictionaries as tex_tables_dictionaries
from fsrl.latex import effects as tex_tables_effects
from fsrl.latex import sensitivity as tex_tables_sensitivity
from fsrl.latex import speed as tex_tables_speed
from fsrl.latex import steering as tex_tables_steering
from fsrl.latex import study as tex_tables_study
from fsrl.latex import text as tex
from fsrl.latex import types as tex_tables_types
from fsrl.steering import forecast, gains
from fsrl.tokens import text as token_text
from fsrl.types.counterparts import counterparts
from tests.fixtures import plot_evidence_tables, plot_tables, steering_tables
from tests.fixtures import tex_examples as ex

PACKAGES = ("lmodern", "siunitx", "booktabs", "array")
PREAMBLE = r"""\documentclass[a4paper,10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{lmodern}
\usepackage[textwidth=178mm,textheight=252mm]{geometry}
\usepackage{array,booktabs,siunitx}
\sisetup{group-separator={,},group-minimum-digits=4}
\tracinglostchars=2
"""
# What the log must not say; a box may be too full by a few points, which nobody sees.
COMPLAINT = re.compile(
    r"^!.*|.*Missing character.*|.*[Uu]ndefined.*|.*Font Warning.*"
    r"|Overfull \\[hv]box \((?:[5-9]|\d\d+)[.\d]*pt.*",
    re.MULTILINE,
)
NASTY = [
    "ðŁĺĢ", "ä¸Ń", "×©", "ا", "Ìģ", "âĢĭ", "\u202e", "\u202eabc", "e\u0301", "\u200b", "\ufeff", "\ud800",
    "ﷺ", "\U0001f468\u200d\U0001f469", "α", "Ж", "한", "ﬁ", "\\", "\\end{document}", "{", "}", "}{", "$",
    "\\%", "&", "#", "_", "^^M", "^", "~", "''", "``", "--", "---", ",,", "<<", ">>", "?`", "!`", '"', "|",
    "[", "]", "*", "Ċ", "čĊ", "ĉĉ", "Ā", "", "Ġ" * 60, "W" * 90, "-" * 60,
]  # fmt: skip


def needs_latex():
    """Skip with a reason where there is no engine, or a package is missing."""
    if not shutil.which("pdflatex"):
        pytest.skip("no pdflatex on the PATH")
    for package in PACKAGES:
        if subprocess.run(["kpsewhich", f"{package}.sty"], capture_output=True).returncode:
            pytest.skip(f"LaTeX has no package {package}")


def compiled(body: str, folder: Path) -> list[str]:
    """What the log of the document complains about."""
    needs_latex()
    source = folder / "document.tex"
    text = PREAMBLE + "\\begin{document}\n" + body + "\n\\end{document}\n"
    source.write_text(text, encoding="utf-8", newline="\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-no-shell-escape", source.name]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=120)
    # LaTeX breaks the lines of a log at 79 characters, which parts words; no complaint starts there.
    log = source.with_suffix(".log").read_text(encoding="latin-1")
    return [found[0] for found in COMPLAINT.finditer(log)]


@cache
def tables() -> dict[str, str]:
    """Every table, of frames with as many layers, types and digits as a study has."""
    moments, enrichment = (json.loads(path.read_text()) for path in ex.BENCHMARKS.values())
    claims, summary = verdicts.summary(ex.claims_frame()), ex.effects_frame()
    null = next(iter(ex.of("null").values()))
    wide = {
        hook: frame.assign(**150 * frame[["features", "expected"]])
        for hook, frame in ex.of("type_counts").items()
    }
    return {
        "studies": tex_tables_study.studies(ex.metadata(), dict.fromkeys(ex.HOOKS, 24576), "GPT-2 small"),
        "moments_by_layer": tex_tables_study.moments_by_layer(ex.of("moments"), null),
        "types_by_layer": tex_tables_types.types_by_layer(
            wide,
            ex.of("types"),
            {hook: plot_tables.null_counts(one) for hook, one in wide.items()},
            ex.SCHEME,
        ),
        "dictionaries": tex_tables_dictionaries.dictionaries(
            plot_tables.compared({"gpt2-small": wide, "gpt2-small-neurons": wide}, ex.SCHEME),
            {"gpt2-small": "GPT-2 small", "gpt2-small-neurons": "GPT-2 small, MLP neurons"},
        ),
        "counterparts": tex_tables_counterparts.counterparts(
            counterparts(ex.dictionaries_of_one_place()),
            {"gpt2-small": "GPT-2 small, residual stream", "splitting": "GPT-2 small, feature splitting"},
        ),
        "type_overlap": tex_tables_types.type_overlap(ex.of("types")),
        "tail_calibration": tex_tables_types.tail_calibration(ex.calibration()),
        "exemplars": tex_tables_types.exemplars(ex.exemplar_layers(), ex.SCHEME),
        "claims": tex_tables_claims.claims(claims, ex.SCHEME),
        "claims_by_scheme": tex_tables_claims.claims_by_scheme(claims),
        "sensitivity": tex_tables_sensitivity.sensitivity(ex.sensitivity_frame()),
        "agreement": tex_tables_sensitivity.agreement(ex.agreement_frame()),
        "effects": tex_tables_effects.effects(summary),
        "effects_by_type": tex_tables_effects.effects_by_type(summary),
        "steering": tex_tables_steering.forecasts(
            forecast.summarise(
                {hook: steering_tables.steering_table(n=30, seed=i) for i, hook in enumerate(ex.HOOKS)},
                seed=0,
                draws=50,
            )
        ),
        "next_token": tex_tables_steering.next_token(
            gains.summarise(
                {hook: steering_tables.next_token_table(n=30, seed=i) for i, hook in enumerate(ex.HOOKS)},
                seed=0,
                draws=50,
            )
        ),
        "paths": tex_tables_steering.paths(
            {hook: steering_tables.paths_table(n=30, seed=i) for i, hook in enumerate(ex.HOOKS)}
        ),
        "confidence": tex_tables_steering.confidence(
            {hook: steering_tables.confidence_table(n=300, seed=i) for i, hook in enumerate(ex.HOOKS)}
        ),
        "effects_by_hook": tex_tables_effects.agreement(ex.by_hook_frame()),
        "speed": tex_tables_speed.speed(moments, enrichment),
    }


def test_every_table_fits_the_page(tmp_path):
    made = tables() | {
        "planted": tex_tables_sensitivity.planted(plot_evidence_tables.recovery(tmp_path), ex.SCHEME),
        "ablations": tex_tables_ablations.ablations(ex.ablations_frame()),
        "null_comparison": tex_tables_sensitivity.null_comparison(ex.null_comparison_frame()),
    }
    floats = [
        rf"\begin{{table}}[p]\centering\caption{{{tex.escape(name)}}}\medskip{table}\end{{table}}\clearpage"
        for name, table in made.items()
    ]
    assert compiled("\n".join(floats), tmp_path) == []


def test_every_token_and_character_is_drawn(tmp_path):
    tokens = [*token_text.ALPHABET, *NASTY, *plot_tables.DANGEROUS, *plot_tables.WORDS]
    parts = [tex.token(token, limit=24) for token in tokens]
    parts += [tex.escape(token) for token in tokens if len(token) < 20]
    glyphs = tex.escape(" ".join(sorted(tex.GLYPHS) + [chr(code) for code in range(0x21, 0x7F)]))
    parts += [rf"{{{style} {glyphs}}}" for style in (r"\rmfamily", r"\ttfamily", r"\bfseries", r"\itshape")]
    parts += [rf"{{\scriptsize\{shape} {glyphs}}}" for shape in ("rmfamily", "ttfamily", "itshape")]
    assert compiled(r"\raggedright " + "\n\\quad\n".join(parts), tmp_path) == []


def test_the_text_can_be_read_in_the_pdf(tmp_path):
    if not shutil.which("pdftotext"):
        pytest.skip("no pdftotext on the PATH")
    body = "\\noindent " + "\n\n".join(
        [tex.token("â"), tex.escape(r"a_b \{x}$ 😀 -- ,, ~^"), tex.number(-0.5, digits=1)]
    )
    assert compiled(body, tmp_path) == []
    text = subprocess.run(
        ["pdftotext", "document.pdf", "-"], cwd=tmp_path, capture_output=True, text=True
    ).stdout
    for said in ("<E2>", "<U+1F600>", "-- ,,", r"\{x}$"):
        assert said in text


@pytest.mark.parametrize(
    "body",
    [
        r"x \unknowncommand",
        "x α",
        r"\noindent\rule{190mm}{1pt}",
        r"x \fontencoding{TS1}\fontfamily{lmtt}\selectfont \symbol{151}",
    ],
)
def test_complaints_are_found(body, tmp_path):
    assert compiled(body, tmp_path)
