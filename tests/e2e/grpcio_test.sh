#!/usr/bin/env bash
# libnodecomm in Python processes that also use grpcio, with its own gRPC, Protocol Buffers and Abseil.
# Skipped (77) where grpcio can't be installed: it comes from a package index.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

# shellcheck source=tests/e2e/grpcio.sh
source "$(dirname "$0")/grpcio.sh"

need_grpcio
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
