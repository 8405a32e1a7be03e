# syntax=docker/dockerfile:1
# Four images: "listener" (slim, no model stack: listener, delivery, dashboard, and reading with the classical engine),
# "worker" (that, and the model stack for a CPU), "worker-gpu" (the same for CUDA) and "viewer" (OHIF).
# Research use only. Not a medical device.
#
# The base images are named by tag: give PYTHON_IMAGE and CUDA_IMAGE with their digests (docs/deployment.md) to pin them.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
ARG CUDA_IMAGE=nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/sgmri \
    && /opt/sgmri/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM build AS build-listener
RUN /opt/sgmri/bin/pip install --no-cache-dir "$(echo /wheels/sgmri-*.whl)[postgres,s3,stow,dashboard]"

FROM build-listener AS build-viewer
ENV XDG_CACHE_HOME=/opt/cache
# The viewer's files lie in the image: where it runs, no way may lead out
RUN /opt/sgmri/bin/pip install --no-cache-dir "$(echo /wheels/sgmri-*.whl)[view]" \
    && /opt/sgmri/bin/sgmri viewer --fetch-only

FROM build-listener AS build-worker
# PyPI's torch for Linux brings gigabytes of CUDA; this index has it without
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/sgmri/bin/pip install --no-cache-dir --index-url "${TORCH_INDEX}" torch \
    && /opt/sgmri/bin/pip install --no-cache-dir "$(echo /wheels/sgmri-*.whl)[worker-cpu]"

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/sgmri/bin:$PATH
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/sgmri --shell /usr/sbin/nologin sgmri \
    && install --directory --owner sgmri --group sgmri --mode 0700 /var/lib/sgmri
WORKDIR /var/lib/sgmri
VOLUME /var/lib/sgmri
# The journal can be opened and asked; the same for every process of the product
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --retries=3 \
    CMD ["sgmri", "status", "--config", "/etc/sgmri/sgmri.toml", "--last", "1"]
ENTRYPOINT ["sgmri"]

FROM base AS viewer
ENV XDG_CACHE_HOME=/opt/cache
COPY --from=build-viewer /opt/sgmri /opt/sgmri
COPY --from=build-viewer /opt/cache /opt/cache
USER 10001:10001
EXPOSE 3000
HEALTHCHECK --interval=60s --timeout=10s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/viewer', timeout=5)"]
CMD ["viewer", "--bind", "0.0.0.0", "--dicomweb", "http://orthanc:8042/dicom-web"]

FROM base AS worker
COPY --from=build-worker /opt/sgmri /opt/sgmri
USER 10001:10001
CMD ["serve", "worker", "--queues", "reading", "--config", "/etc/sgmri/sgmri.toml"]

# Its own interpreter: a virtual environment does not move between distributions
FROM ${CUDA_IMAGE} AS worker-gpu
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/sgmri/bin:$PATH
# No versions: the distribution's security updates are wanted, and it removes old versions
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/sgmri --shell /usr/sbin/nologin sgmri \
    && install --directory --owner sgmri --group sgmri --mode 0700 /var/lib/sgmri
COPY --from=build /wheels /wheels
RUN python3 -m venv /opt/sgmri \
    && /opt/sgmri/bin/pip install --no-cache-dir "$(echo /wheels/sgmri-*.whl)[postgres,s3,stow,worker-gpu]"
USER 10001:10001
WORKDIR /var/lib/sgmri
VOLUME /var/lib/sgmri
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --retries=3 \
    CMD ["sgmri", "status", "--config", "/etc/sgmri/sgmri.toml", "--last", "1"]
ENTRYPOINT ["sgmri"]
CMD ["serve", "worker", "--queues", "reading", "--config", "/etc/sgmri/sgmri.toml"]

# Last: what is built where no target is named
FROM base AS listener
COPY --from=build-listener /opt/sgmri /opt/sgmri
USER 10001:10001
EXPOSE 11112
CMD ["serve", "listener", "--config", "/etc/sgmri/sgmri.toml"]
