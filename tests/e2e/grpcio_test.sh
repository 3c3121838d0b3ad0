#!/usr/bin/env bash
# libnodecomm in Python processes that also use grpcio, with its own gRPC, Protocol Buffers and Abseil.
# Skipped (77) where grpcio can't be installed: it comes from a package index.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

venv=${NODECOMM_VENV:?a directory for the Python environment}
if ! "$venv/bin/python" -c 'import grpc' 2>/dev/null; then
  if ! python3 -m venv "$venv" || ! "$venv/bin/pip" install -q --disable-pip-version-check grpcio; then
    echo "SKIPPED: grpcio could not be installed into $venv"
    exit 77
  fi
fi

start_simulated hgx-h100-x4
export NODECOMM_RUNTIME_DIR=$runtime
ranks=()
for rank in 0 1; do
  timeout 90 "$venv/bin/python" "$here/grpcio_rank.py" "${NODECOMM_LIB:?}" "$rank" &
  ranks+=($!)
done
for pid in "${ranks[@]}"; do
  wait "$pid" || fail "a Python rank ended with $?"
done
stop_daemon
