"""Write where this repository lies into every file that tells it:

    python workflow/address.py https://example.org/you/fsrl

`repository-code` of CITATION.cff is the place that counts: the paper and the dataset's card read it. README,
the tutorial and the paper's bibliography can read nothing and hold a copy each, which a test compares
(tests/repository/test_citation.py). Until it is known the commands say THIS_REPOSITORY, with a note of what
that is.
"""

import re
import sys
from pathlib import Path

FILES = ("CITATION.cff", "README.md", "docs/tutorial.md", "paper/references.bib")
PLACEHOLDER = "THIS_REPOSITORY"
NOTE = f"(`{PLACEHOLDER}` is the address or the folder at which you read this.)\n\n"
CLONE = re.compile(r"(?<=git clone )\S+(?= fsrl )")
ADDRESS = re.compile(r"https://[\w-]+(\.[\w-]+)+(/[\w.~-]+)+")
ENTRY = re.compile(r"^@\w+\{fsrl,\n.*?^\}", re.M | re.S)


def write(root: Path, url: str) -> None:
    """Into all FILES under root, or into none; ValueError for what is no https address of a repository."""
    if not ADDRESS.fullmatch(url) or url.endswith(".git"):
        raise ValueError(f"{url}: no address such as https://example.org/you/fsrl")
    texts = {name: (root / name).read_text(encoding="utf-8") for name in FILES}
    for name, text in texts.items():
        (root / name).write_text(told(name, text, url), encoding="utf-8")


def told(name: str, text: str, url: str) -> str:
    """The text of one of FILES with this address in place of another or none."""
    if name == "CITATION.cff":
        bare = re.sub(r"^repository-code: .*\n", "", text, flags=re.M)
        return re.sub(r"^license: .*\n", rf"\g<0>repository-code: {url}\n", bare, flags=re.M)
    text = CLONE.sub(url, text.replace(NOTE, ""))
    return ENTRY.sub(lambda entry: _with_url(entry[0], url), text)


def _with_url(entry: str, url: str) -> str:
    bare = re.sub(r"^ +url += .*\n", "", entry, flags=re.M)
    return re.sub(r"^( +)year( +)=", rf"\1url \2= {{{url}}},\n\g<0>", bare, flags=re.M)


if __name__ == "__main__":
    try:
        (given,) = sys.argv[1:]
        write(Path(__file__).parents[1], given)
    except ValueError as error:
        sys.exit(f"python workflow/address.py URL: {error}")
