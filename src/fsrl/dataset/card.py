"""README.md of a dataset: the card that the Hugging Face hub shows, its YAML, the columns of every table."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from fsrl.dataset.merge import Merged

# Sizes as the hub names them: up to so many rows.
SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
)


@dataclass(frozen=True)
class About:
    """What a dataset says of itself.

    study, title: as the config has them; citation: what CITATION.cff holds; views: name -> how W_U and the
    decoder are processed; left_out: tables built and not in it; neuronpedia: folders in Neuronpedia's layout,
    made in `neuronpedia_view` (None: there are none); made_from: of the weights and of the libraries,
    as the tables' metadata names it.
    """

    study: str
    title: str
    citation: Mapping[str, Any]
    views: Mapping[str, Mapping[str, Any]]
    left_out: Sequence[str]
    neuronpedia_view: str | None
    made_from: Mapping[str, str] = field(default_factory=dict)
    neuronpedia: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The dataset's name."""
        return f"fsrl: {self.title}"

    @property
    def abstract(self) -> str:
        """One sentence about it."""
        return (
            f"What every feature of study {self.title!r} does to the next-token logits: moments of its logit "
            "weights, types beside what chance gives, token sets, measured effects and explanations."
        )

    @property
    def bibtex(self) -> str:
        """The entry by which it is cited."""
        names = " and ".join(f"{{{author['name']}}}" for author in self.citation["authors"])
        lines = [f"  author = {{{names}}},", f"  title = {{{self.citation['title']}}},"]
        lines += [f"  version = {{{self.citation['version']}}},"]
        if "repository-code" in self.citation:
            lines += [f"  url = {{{self.citation['repository-code']}}},"]
        return "\n".join(["@software{fsrl,", *lines, "}"])


def text(about: About, tables: Sequence[Merged]) -> str:
    """The card."""
    head = yaml.safe_dump(_head(about, tables), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{head}---",
        f"# {plain(about.name)}",
        f"{plain(about.abstract)} Made by fsrl {about.citation['version']}: its README says how to read it.",
        _loading(tables),
        _origin(about),
        _views(about.views),
        "## Tables",
        "A row's SAE, its layer and the view come first, in the tables that have several. "
        "Each file's metadata (key `fsrl`) says of which weights, settings and versions each part is.",
        *map(_table, tables),
        _rest(about),
        f"## Cite\n\n```bibtex\n{about.bibtex}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """A text that Markdown and HTML show as it is, also within a cell of a table."""
    text = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{char}" if char in "\\`*_[]|~$" else char for char in text)


def _head(about: About, tables: Sequence[Merged]) -> dict[str, Any]:
    rows = max(table.rows for table in tables)
    size = next((name for most, name in SIZES if rows < most), "100M<n<1B")
    return {
        "pretty_name": about.name,
        "license": str(about.citation["license"]).lower(),
        "language": ["en"],
        "tags": [word.lower() for word in about.citation["keywords"]],
        "size_categories": [size],
        "configs": [
            {"config_name": table.name, "data_files": f"data/{table.name}.parquet"}
            | ({"default": True} if number == 0 else {})
            for number, table in enumerate(tables)
        ],
    }


def _loading(tables: Sequence[Merged]) -> str:
    first = tables[0].name
    return f"""## Load

```python
from datasets import load_dataset
load_dataset("PLACE/OF/THIS", "{first}", split="train")  # or pandas.read_parquet("data/{first}.parquet")
```

`croissant.json` describes the same files to machines; `sha256sum --check SHA256SUMS` checks them."""


def _origin(about: About) -> str:
    rows = [f"| {plain(key)} | {plain(value)} |" for key, value in about.made_from.items()]
    return "\n".join(["## Made from", "", "| what | |", "|---|---|", *rows])


def _views(views: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        f"| {plain(name)} | {plain(', '.join(f'{key}: {value}' for key, value in options.items()))} |"
        for name, options in views.items()
    ]
    return "\n".join(["## Views", "", "| view | W_U and the decoder |", "|---|---|", *rows])


def _table(table: Merged) -> str:
    rows = [
        f"| {plain(name)} | {plain(dtype)} | {plain(unit)} | {plain(description)} |"
        for name, dtype, unit, description in table.columns
    ]
    head = [f"### {table.name}", "", f"{table.rows:,} rows.", ""]
    return "\n".join([*head, "| column | type | unit | what |", "|---|---|---|---|", *rows])


def _rest(about: About) -> str:
    lines = ["## What else", ""]
    if about.left_out:
        lines += [f"- Built and not in here (setting `dataset.without`): {', '.join(about.left_out)}."]
    if about.neuronpedia_view is None:
        lines += [
            "- No view of the study is one of `dataset.neuronpedia_views`: nothing in Neuronpedia's layout."
        ]
    else:
        lines += [
            f"- `neuronpedia/v1/` has features and explanations of {len(about.neuronpedia)} SAEs as "
            f"gzipped JSON lines in the layout of Neuronpedia's bulk exports (view "
            f"{about.neuronpedia_view}). What is measured on a text (maxActApprox, "
            "freq_hist_*, activations) is null or empty; tokens beyond 8 standard "
            "deviations are in no bar of a histogram."
        ]
    return "\n".join(
        [*lines, "- Explanations whose source is not `local` are Neuronpedia's, and under its terms."]
    )
