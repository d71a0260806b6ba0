"""How much of what was planted each type's rule finds."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

from fsrl.figures import files as figure_files
from fsrl.figures import planted
from fsrl.tables import core as tables
from fsrl.tables.planted import RECOVERY, RECOVERY_BY_SET

given, params = snakemake.input, snakemake.params
shown = {"scheme": params.scheme, "title": f"{params.title} · planted truth"}
recovery = tables.read(given.recovery, RECOVERY)
by_set = tables.read(given.by_set, RECOVERY_BY_SET)
figures = {
    "recovery": planted.recovery(recovery, **shown),
    "recovery_by_set": planted.recovery_by_set(by_set, **shown),
}
for path in snakemake.output:
    figure_files.save(figures[Path(path).stem], path)
