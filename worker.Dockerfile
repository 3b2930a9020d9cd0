# One image for every process of Dialer; docker-compose.yml sets the command of each container. It builds for amd64 and
# arm64 (docker-bake.hcl): every locked package has a wheel for both.

# To pin the base image, give its digest as your registry reports it: --build-arg PYTHON=python@sha256:…
ARG PYTHON=python:3.13.16-slim-trixie

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# Without pip, so that nothing can be installed into the environment at run time.
COPY requirements.prod.lock ./
RUN python -m venv --without-pip /opt/dialer \
    && pip --python /opt/dialer/bin/python install --require-hashes --only-binary :all: -r requirements.prod.lock

# The build backend is also pinned by hash, in the developers' lock, and is not copied into the final image.
COPY requirements.lock ./
RUN awk '/^setuptools==/,!/\\$/' requirements.lock > build.lock \
    && pip install --require-hashes --only-binary :all: -r build.lock

COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-deps --no-index --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/dialer/bin/python install --no-deps --no-index dist/*.whl


FROM ${PYTHON}
ARG PYTHON
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="Dialer" \
      org.opencontainers.image.description="Calls a list of people: API, worker, beat and listener" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON}"
ENV PATH=/opt/dialer/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 DIALER_LOG_FORMAT=json

# /var/lib/dialer is for the simulated network: a new volume that is mounted there takes the folder's owner.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin dialer \
    && install --directory --owner dialer --group dialer /var/lib/dialer
COPY --from=build /opt/dialer /opt/dialer

# A numeric user, so that an orchestrator can see that it is not root. Only /tmp must be writable.
USER 10001:10001
WORKDIR /tmp
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 CMD ["dialer", "alive"]
ENTRYPOINT ["dialer"]
CMD ["worker"]
