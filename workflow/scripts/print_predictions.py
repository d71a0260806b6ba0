"""Say in the terminal and the log what became of each registered prediction."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import logging
import sys

from fsrl import plain
from fsrl.predictions import judging
from fsrl.tables import core as tables
from fsrl.tables.predictions import PREDICTIONS

for line in judging.lines(tables.read(snakemake.input.judged, PREDICTIONS)):
    logging.getLogger("fsrl").info("%s", line)
    print(plain.line(line), file=sys.stderr)
