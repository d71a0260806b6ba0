"""Two builds held against each other: `python workflow/compare_builds.py BEFORE AFTER`, two built checkouts.

Parquet tables count as the same if their columns and values are (metadata may name other modules); every
other file under results/, figures/ and paper/generated/ if its bytes are. Prints what is gone, new or
different, and fails if a table differs or is gone. PDFs and Snakemake's benchmarks are left out: they hold
times.
"""

import sys
from pathlib import Path

import pyarrow.parquet as pq


def files(build: Path) -> dict[str, Path]:
    """What a build made, by its path in the checkout."""
    found = (path for top in ("results", "figures", "paper/generated") for path in (build / top).rglob("*"))
    return {
        str(path.relative_to(build)): path
        for path in found
        if path.is_file()
        and path.suffix != ".pdf"
        and "benchmarks" not in path.relative_to(build).parts
        and not path.name.startswith(".")
    }


def same(before: Path, after: Path) -> bool:
    """Whether two files hold the same data."""
    if before.suffix != ".parquet":
        return before.read_bytes() == after.read_bytes()
    tables = [pq.read_table(path).replace_schema_metadata() for path in (before, after)]
    # pandas takes a NaN as equal to a NaN in the same place.
    return tables[0].schema.equals(tables[1].schema) and tables[0].to_pandas().equals(tables[1].to_pandas())


def compare(before: Path, after: Path) -> dict[str, list[str]]:
    """Paths by what became of them: gone, new, same, different."""
    old, new = files(before), files(after)
    both = sorted(old.keys() & new.keys())
    equal = {name for name in both if same(old[name], new[name])}
    return {
        "gone": sorted(old.keys() - new.keys()),
        "new": sorted(new.keys() - old.keys()),
        "same": sorted(equal),
        "different": [name for name in both if name not in equal],
    }


if __name__ == "__main__":
    found = compare(*map(Path, sys.argv[1:3]))
    for fate in ("gone", "new", "different"):
        for name in found[fate]:
            print(f"{fate}: {name}")
    for fate, names in found.items():
        print(
            f"{fate}: {len(names)} files, {sum(name.endswith('.parquet') for name in names)} of them tables"
        )
    sys.exit(any(name.endswith(".parquet") for name in found["different"] + found["gone"]))
