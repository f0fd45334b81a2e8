# cdnlab in an image: any node, the lab's observer, and (target `load`) Locust. `docker compose up` builds it.
#
#   docker build -t cdnlab:node .                    the node: small, not root, no pip, no compiler
#   docker build -t cdnlab:load --target load .      the same with Locust and the load tests
#
# Any Debian with Python 3.11, pip and venv will do as a base; both stages need the same one.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# The environment is made by the base's own pip and has none in it. First what cdnlab needs, then cdnlab: a change of
# code does not fetch it all again.
FROM ${PYTHON_IMAGE} AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python3 -m venv --without-pip /opt/cdnlab
COPY pyproject.toml constraints.txt ./
RUN python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > requirements.txt \
 && python3 -m pip --python /opt/cdnlab/bin/python install -c constraints.txt -r requirements.txt
COPY README.md LICENSE ./
COPY cdnlab cdnlab
COPY lb lb
COPY edge edge
COPY origin origin
RUN python3 -m pip --python /opt/cdnlab/bin/python install --no-deps .

# What both images have but the environment. The directories are empty, and so are the volumes that Docker makes from
# them; the one with the secrets is its owner's alone, the one with the targets is for Prometheus to read.
FROM ${PYTHON_IMAGE} AS runtime
RUN groupadd --gid 10001 cdnlab \
 && useradd --uid 10001 --gid cdnlab --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin cdnlab \
 && install -d -m 0700 -o cdnlab -g cdnlab /var/lib/cdnlab \
 && install -d -m 0755 -o cdnlab -g cdnlab /var/lib/cdnlab-targets
COPY deploy/compose/healthy.py /usr/local/lib/cdnlab/healthy.py
COPY deploy/compose/topology.yaml /etc/cdnlab/topology.yaml
# pip has compiled everything; nobody can write there later.
ENV PATH=/opt/cdnlab/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CDNLAB_TOPOLOGY=/etc/cdnlab/topology.yaml \
    CDNLAB_STATE=/var/lib/cdnlab \
    CDNLAB_READY_FILE=/tmp/cdnlab-ready
USER cdnlab
WORKDIR /tmp
LABEL org.opencontainers.image.title="cdnlab" \
      org.opencontainers.image.description="A whole content-delivery network on one laptop" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM runtime AS node
COPY --from=builder /opt/cdnlab /opt/cdnlab
EXPOSE 8080 9101
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python3", "-I", "-S", "/usr/local/lib/cdnlab/healthy.py"]
ENTRYPOINT ["cdnlab"]

FROM builder AS load-builder
RUN python3 -m pip --python /opt/cdnlab/bin/python install -c constraints.txt ".[load]"

FROM runtime AS load
COPY --from=load-builder /opt/cdnlab /opt/cdnlab
WORKDIR /srv/cdnlab
COPY locust.conf ./
COPY loadtests loadtests
EXPOSE 8089
ENTRYPOINT ["locust"]

# Without --target it is the node.
FROM node
