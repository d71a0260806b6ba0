"""LaTeX table of what the workflow's stages cost, from what benchmarks/stages.py saved."""

from collections.abc import Mapping
from typing import Any

from fsrl.latex import text as tex
from fsrl.latex.table import Column, tabular


def stages(saved: Mapping[str, Any]) -> str:
    """Jobs, wall and CPU seconds and the largest memory of each stage, and of all; the machine as heading.

    saved: what benchmarks/stages.py wrote: machine, studies, and stages -> jobs, seconds, cpu_seconds, mib.
    """
    machine, found = saved["machine"], saved["stages"]
    rows = [(rf"\quad {tex.escape(name)}", *_row(one)) for name, one in found.items()]
    total = {name: sum(one[name] for one in found.values()) for name in ("jobs", "seconds", "cpu_seconds")}
    rows.append((r"\quad all", *_row(total | {"mib": max(one["mib"] for one in found.values())})))
    studies = ", ".join(rf"\emph{{{tex.escape(name)}}}" for name in saved["studies"])
    memory = tex.number(machine["memory_gib"], digits=0)
    cores = f"{tex.count(machine['cores'])} cores, {memory}~GiB"
    headings = {0: rf"{studies}; {tex.escape(machine['cpu'])}, {cores}, no GPU"}
    if machine["note"]:
        headings[0] += f"; {tex.escape(machine['note'])}"
    names, *figures = zip(*rows, strict=True)
    heads = ("jobs", "wall time (s)", "CPU time (s)", "memory (MiB)")
    columns = [Column("Stage", names)]
    columns += [Column(head, cells, "S") for head, cells in zip(heads, figures, strict=True)]
    return tabular(columns, headings=headings, rules=[len(found)], tabcolsep=6)


def _row(one: Mapping[str, float]) -> tuple[str, ...]:
    jobs = tex.count(int(one["jobs"]), bare=True)
    return jobs, *(tex.number(one[name], digits=0, bare=True) for name in ("seconds", "cpu_seconds", "mib"))
