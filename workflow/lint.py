"""`snakemake --lint` less what is meant; fails on any other lint, and on an exception that no lint needs.

Snakemake knows no exceptions of its own, and its command prints text whatever it is asked for.
"""

import re
import subprocess
import sys

LINT = re.compile(r"^    \* (.*):$", re.M)
# What the title of a lint begins with, and why it is meant.
EXCEPTIONS = {
    "Specify a conda environment or container for each rule.": "requirements.lock is that of all rules",
    "Mixed rules and functions in same snakefile.": "a stage is one file, its functions included",
    "Environment variable ": "set for the jobs, not asked of the user",
}


def left(printed: str) -> list[str]:
    """The titles of lints that no exception covers."""
    return [title for title in LINT.findall(printed) if not title.startswith(tuple(EXCEPTIONS))]


def stale(printed: str) -> list[str]:
    """The exceptions that no lint needs."""
    titles = LINT.findall(printed)
    return [start for start in EXCEPTIONS if not any(title.startswith(start) for title in titles)]


def main() -> None:
    command = [sys.executable, "-m", "snakemake", "--lint", "--config", "study=mini"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if not LINT.search(done.stdout):
        sys.exit(done.stdout)
    if others := left(done.stdout):
        sys.exit("\n".join([*others, "(where, and why it matters: snakemake --lint --config study=mini)"]))
    if unused := stale(done.stdout):
        sys.exit(f"workflow/lint.py: no lint needs the exception {unused[0]!r}; take it out")
    print(f"snakemake --lint: {len(LINT.findall(done.stdout))} lints, all of them meant (workflow/lint.py)")


if __name__ == "__main__":
    main()
