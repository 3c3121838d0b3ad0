#!/usr/bin/env bash
# A service manager keeps the daemon's sockets while there is no daemon: who connects then waits, and is served.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

python3 "$here/fd_store.py" "$NODECOMM_BIN" "$work" "$topologies/hgx-h100-x4.textproto"
