#!/usr/bin/env bash
# The daemon in a user namespace of its own refuses users that it could not tell apart, and serves the others.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

if ((EUID != 0)) || ! unshare --user --map-root-user true 2>/dev/null; then
  echo "skipped: no user namespaces here, or not root"
  exit 77
fi
# connect_as UID: what the daemon answers on session.sock. The user need not be able to walk there.
connect_as() {
  python3 - "$runtime" "$1" <<'PYTHON'
import os, socket, sys
os.chdir(sys.argv[1])
os.setresuid(*[int(sys.argv[2])] * 3)
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect("session.sock")
connection.settimeout(20)
print(connection.recv(4096))
PYTHON
}

unshare --user --map-root-user "$NODECOMM_BIN/nodecommd" --runtime-dir "$runtime" \
  --simulate "$topologies/hgx-h100-x4.textproto" >"$work/nodecommd.log" 2>&1 &
daemon=$!
for ((i = 0; i < 600; ++i)); do
  if ctl status >/dev/null 2>&1; then break; fi
  sleep 0.05
done
grep -q "warning the daemon is in a user namespace of its own" "$work/nodecommd.log" || fail "the start does not warn"
perf -n 2 -b 1K -e 1K --check --gpus 4 >"$work/perf" 2>&1 || fail "root is not served: $(cat "$work/perf")"
connect_as 1600 | grep -q "user namespace in which this process's user has no number" || fail "the user is not refused"
grep -q "connection on session.sock refused (unknown_user)" "$work/nodecommd.log" || fail "the refusal is not logged"
stop_daemon
