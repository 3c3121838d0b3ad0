#!/usr/bin/env bash
# What a service manager is told: what the daemon waits for, when it is ready, that it is alive, what a reload did.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

python3 "$here/service_manager.py" "$NODECOMM_BIN" "$work" "$topologies"
