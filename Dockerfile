# syntax=docker/dockerfile:1
# Three images: "listener" (slim, no model stack: listener, delivery, and reading with an engine that needs no GPU),
# "viewer" (that, and OHIF for the demo) and "worker" (CUDA: reading with an engine that needs it).
# Research use only. Not a medical device.

FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim AS listener
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/sgmri/bin:$PATH
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/sgmri --shell /usr/sbin/nologin sgmri \
    && install --directory --owner sgmri --group sgmri --mode 0700 /var/lib/sgmri
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    python3 -m venv /opt/sgmri \
    && /opt/sgmri/bin/pip install --no-cache-dir "$(echo /wheels/sgmri-*.whl)[postgres,stow]"
USER 10001:10001
WORKDIR /var/lib/sgmri
VOLUME /var/lib/sgmri
EXPOSE 11112
# The journal can be opened and asked; the same for every process of the product
HEALTHCHECK --interval=60s --timeout=30s --start-period=30s --retries=3 \
    CMD ["sgmri", "status", "--config", "/etc/sgmri/sgmri.toml", "--last", "1"]
ENTRYPOINT ["sgmri"]
CMD ["serve", "listener", "--config", "/etc/sgmri/sgmri.toml"]

# The viewer's files lie in the image: where it runs, no way may lead out
FROM listener AS viewer
USER root
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    /opt/sgmri/bin/pip install --no-cache-dir "$(echo /wheels/sgmri-*.whl)[view]"
ENV XDG_CACHE_HOME=/opt/cache
RUN sgmri viewer --fetch-only
USER 10001:10001
EXPOSE 3000
HEALTHCHECK --interval=60s --timeout=10s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/viewer', timeout=5)"]
CMD ["viewer", "--bind", "0.0.0.0", "--dicomweb", "http://orthanc:8042/dicom-web"]

FROM nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04 AS worker
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/sgmri/bin:$PATH
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/sgmri --shell /usr/sbin/nologin sgmri \
    && install --directory --owner sgmri --group sgmri --mode 0700 /var/lib/sgmri
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    python3 -m venv /opt/sgmri \
    && /opt/sgmri/bin/pip install --no-cache-dir "$(echo /wheels/sgmri-*.whl)[postgres,stow,worker-gpu]"
USER 10001:10001
WORKDIR /var/lib/sgmri
VOLUME /var/lib/sgmri
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --retries=3 \
    CMD ["sgmri", "status", "--config", "/etc/sgmri/sgmri.toml", "--last", "1"]
ENTRYPOINT ["sgmri"]
CMD ["serve", "worker", "--queues", "reading", "--config", "/etc/sgmri/sgmri.toml"]
