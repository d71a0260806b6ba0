# Everything that `make reproduce` needs: the environment of requirements.lock, LaTeX, and the C compiler that Triton
# calls on a GPU.
#   docker build -t fsrl .                                                          torch for CPUs
#   docker build -t fsrl --build-arg TORCH_INDEX=https://pypi.org/simple .          torch for NVIDIA GPUs (run --gpus all)
#   docker run --name fsrl fsrl && docker cp fsrl:/fsrl/results . && docker cp fsrl:/fsrl/figures . \
#     && docker cp fsrl:/fsrl/paper/main.pdf .
# Not built on the project's own machines, which have no container engine.
FROM python:3.11-slim-bookworm
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
        make gcc libc6-dev latexmk texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended texlive-science lmodern \
    && rm -rf /var/lib/apt/lists/*
# The lock leaves the build of torch to the index; PyPI's own is the one for GPUs.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_EXTRA_INDEX_URL=${TORCH_INDEX} PIP_NO_CACHE_DIR=1
WORKDIR /fsrl
COPY . .
RUN make .venv/.ready
CMD ["make", "reproduce"]
