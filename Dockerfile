# A small image of Depotry: no root, nothing of it can be written but /data and /tmp.
#
#   docker build -t depotry .
#   docker run -p 127.0.0.1:5000:5000 -e DEPOTRY_EXTERNAL_URL=http://localhost:5000 -v depotry:/data depotry
#
# Any image with Python 3.11 or newer (its venv module, and pip in it) will do as the base.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /src
# What is installed from elsewhere changes less often than what is here: this layer stays.
COPY pyproject.toml ./
COPY registry/__init__.py registry/__init__.py
RUN python3 -m venv /opt/depotry \
    && mkdir migrations \
    && touch README.md \
    && /opt/depotry/bin/pip install --no-cache-dir --no-compile . \
    && /opt/depotry/bin/pip uninstall --yes depotry
COPY README.md ./
COPY migrations migrations
COPY registry registry
RUN /opt/depotry/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /dist . \
    && /opt/depotry/bin/pip install --no-cache-dir --no-compile --no-deps /dist/*.whl \
    && /opt/depotry/bin/pip uninstall --yes pip \
    && python3 -m compileall -q -j 0 /opt/depotry/lib \
    && mkdir /data

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Depotry" \
      org.opencontainers.image.description="An OCI registry"
ENV PATH=/opt/depotry/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    DEPOTRY_DATA=/data \
    DEPOTRY_HOST=0.0.0.0 \
    DEPOTRY_LOG_FORMAT=json
# The registry, and what is for its operators: /metrics, /livez and /readyz, which are on loopback unless
# DEPOTRY_METRICS_HOST says more.
EXPOSE 5000 5001
HEALTHCHECK --interval=10s --timeout=8s --start-period=60s --retries=3 CMD ["depotry", "healthcheck"]
ENTRYPOINT ["depotry"]
CMD ["serve"]
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
COPY --from=build /opt/depotry /opt/depotry
# A new volume gets the owner of the folder that it is mounted on.
COPY --from=build --chown=10001:10001 /data /data
VOLUME /data
