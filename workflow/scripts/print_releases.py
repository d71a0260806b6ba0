"""Print the table of releases in the terminal."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import sys

from fsrl.models import catalogue
from fsrl.tables import core as tables
from fsrl.tables.releases import RELEASES

for line in catalogue.lines(tables.read(snakemake.input.releases, RELEASES)):
    print(line, file=sys.stderr)
