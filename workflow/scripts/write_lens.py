"""A study's own matrices as a Jacobian lens that others can load."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.transport import lens
from fsrl.weights import transport

lens.write_artifact(transport.read(snakemake.input.transport), snakemake.output[0])
