r"""A LaTeX table from its columns: booktabs rules, figures aligned at the decimal marker by siunitx.

A table sets its own font size and column distance, so that its width does not hang on where it is put, and is
no float: main.tex puts it into a table with a caption. It needs the packages array, booktabs and siunitx
besides those of `fsrl.latex.text`. Its first lines are comments that say what it was made from.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsrl import files
from fsrl.errors import FsrlError
from fsrl.latex import text as tex

FIGURE = re.compile(r"([+-]?)(\d+)(?:\.(\d+))?(?:e([+-]?)(\d+))?")


@dataclass(frozen=True)
class Column:
    """One column: its head and cells as LaTeX.

    align: "l", "r", "c"; "S" for bare figures (`tex.number(..., bare=True)`) aligned at the decimal marker;
        or a width such as "34mm" for text in ragged lines. near: it belongs to the column before it,
        whose head spans both, and has hardly any space before it.
    """

    head: str
    cells: Sequence[str]
    align: str = "l"
    near: bool = False

    @property
    def spec(self) -> str:
        """What stands for it in the tabular's preamble."""
        before = r"@{\hspace{2pt}}" if self.near else ""
        if self.align == "S":
            return f"{before}S[table-format={table_format(self.cells)}]"
        if re.fullmatch(r"[\d.]+(mm|em|pt)", self.align):
            return rf"{before}>{{\raggedright\arraybackslash}}p{{{self.align}}}"
        return before + self.align


def table_format(cells: Sequence[str]) -> str:
    """siunitx' table-format that gives just enough room to the figures among the cells."""
    found = [match.groups() for cell in cells if (match := FIGURE.fullmatch(cell))]
    if not found:
        return "1.0"
    signs, whole, decimals, exponent_signs, exponents = zip(*found, strict=True)
    sign = "-" if any(signs) else ""
    text = f"{sign}{max(map(len, whole))}.{max(len(part or '') for part in decimals)}"
    if any(exponents):
        sign = "-" if any(exponent_signs) else ""
        text += f"e{sign}{max(len(part or '') for part in exponents)}"
    return text


def count_column(head: str, values: Iterable[int]) -> Column:
    """A column of whole numbers, aligned by their digits."""
    return Column(head, [tex.count(value, bare=True) for value in values], "S")


def tabular(
    columns: Sequence[Column],
    *,
    groups: Sequence[tuple[str, int]] = (),
    headings: Mapping[int, str] | None = None,
    spaces: Collection[int] = (),
    space: float = 5,
    rules: Collection[int] = (),
    notes: Sequence[str] = (),
    notes_width: str = "160mm",
    size: str = "footnotesize",
    tabcolsep: float = 3.0,
) -> str:
    """The table as LaTeX.

    columns: from left to right, with equally many cells; groups: heads above the heads, each with the number
    of columns that it spans, "" for none; headings: row -> LaTeX of a line over the whole width, before that
    row; spaces, space: rows before which there is space, in points; rules: rows before which there is a line;
    notes, notes_width: paragraphs below the rows, and how wide they are; size: LaTeX's name of the font size;
    tabcolsep: half the space between columns, in points.
    """
    heights = {len(column.cells) for column in columns}
    if len(heights) != 1:
        raise FsrlError(f"tex_tables.tabular: columns of {sorted(heights)} cells; they must be equally long")
    lines = [
        rf"\begingroup\{size}\setlength{{\tabcolsep}}{{{tabcolsep:g}pt}}%",
        rf"\begin{{tabular}}{{@{{}}{_preamble(columns, groups)}@{{}}}}",
        r"\toprule",
        *_group_lines(groups, len(columns)),
    ]
    if any(column.head for column in columns):
        lines += [" & ".join(_heads(columns)) + r" \\", r"\midrule"]
    for row in range(heights.pop()):
        if row in rules:
            lines.append(r"\midrule")
        elif headings and row in headings and row > 0:
            lines.append(r"\addlinespace")
        elif row in spaces:
            lines.append(rf"\addlinespace[{space:g}pt]")
        if headings and row in headings:
            lines.append(rf"\multicolumn{{{len(columns)}}}{{@{{}}l@{{}}}}{{{headings[row]}}} \\")
        lines.append(" & ".join(column.cells[row] for column in columns) + r" \\")
    if notes:
        lines.append(r"\midrule")
        below = rf"\multicolumn{{{len(columns)}}}{{@{{}}p{{{notes_width}}}@{{}}}}"
        lines += [rf"{below}{{{note}}} \\" for note in notes]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}%", r"\endgroup%", ""])


def _preamble(columns: Sequence[Column], groups: Sequence[tuple[str, int]]) -> str:
    """The columns' specifications, with more space before each group."""
    starts = {sum(span for _, span in groups[:i]) for i in range(1, len(groups))}
    gap = r"!{\hspace{4pt}}"
    return " ".join((gap if i in starts else "") + column.spec for i, column in enumerate(columns))


def _heads(columns: Sequence[Column]) -> list[str]:
    heads = []
    for i, column in enumerate(columns):
        if i + 1 < len(columns) and columns[i + 1].near:
            heads.append(rf"\multicolumn{{2}}{{c}}{{{column.head}}}")
        elif not column.near:
            # Braces keep siunitx from reading a head as a figure, and LaTeX a bracket as an option of \\.
            heads.append(f"{{{column.head}}}")
    return heads


def _group_lines(groups: Sequence[tuple[str, int]], width: int) -> list[str]:
    if not groups:
        return []
    if (spanned := sum(span for _, span in groups)) != width:
        raise FsrlError(f"tex_tables.tabular: the groups span {spanned} columns of {width}")
    cells, rules, at = [], [], 1
    for text, span in groups:
        cells.append(rf"\multicolumn{{{span}}}{{c}}{{{text}}}")
        if text:
            rules.append(rf"\cmidrule(lr){{{at}-{at + span - 1}}}")
        at += span
    return [" & ".join(cells) + r" \\", " ".join(rules)]


def interval(low: float, high: float, digits: int = 2) -> str:
    """The cell of an interval, beside its estimate; empty where there is none."""
    text = tex.interval(low, high, digits=digits)
    return "" if text == tex.MISSING else text


def write(path: str | Path, table: str, sources: Sequence[str]) -> None:
    """Write a table, whole or not at all; sources: the files that it was made from, for its first lines."""
    said = "".join(f"% {line}\n" for line in ("Written by fsrl; do not edit. From:", *sources))
    with files.atomic_write(path) as temporary:
        temporary.write_text(said + table, encoding="utf-8", newline="\n")
