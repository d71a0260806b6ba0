#!/usr/bin/env bash
# All that only a GPU can tell, in one table and one JSON file, in under 10 minutes on one H100:
#   bash benchmarks/gpu_check.sh [--output FILE.json]
# in the environment of requirements.lock with a Torch built for CUDA. benchmarks/gpu_check.py says what is measured;
# `--tiny --device cpu` tries the script itself on small shapes where there is no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" benchmarks/gpu_check.py "$@"
