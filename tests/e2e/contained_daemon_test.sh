#!/usr/bin/env bash
# The daemon in namespaces of its own (PID, IPC, mount), as in a pod without hostPID: it cannot tell its workers' process ids, and
# serves them, and knows of their deaths, all the same. What differs is in deploy/container/README.md.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"
# shellcheck source=tests/e2e/workers.sh
source "$(dirname "$0")/workers.sh"

readonly contained=(unshare --pid --fork --kill-child --ipc --mount --mount-proc)
if ! "${contained[@]}" true 2>/dev/null; then
  echo "skipped: no namespaces here"
  exit 77
fi
# SO_PEERPIDFD, by which a process is watched whose id is not known here.
if ! python3 -c 'import socket; socket.socketpair()[0].getsockopt(socket.SOL_SOCKET, 77, 4)' 2>/dev/null; then
  echo "skipped: this kernel (before Linux 6.5) has no SO_PEERPIDFD"
  exit 77
fi

start_contained() {
  "${contained[@]}" "$NODECOMM_BIN/nodecommd" --runtime-dir "$runtime" --simulate "$topologies/hgx-h100-x4.textproto" \
    >>"$work/nodecommd.log" 2>&1 &
  daemon=$!
  local i
  for ((i = 0; i < 600; ++i)); do
    if ctl status >/dev/null 2>&1; then return 0; fi
    kill -0 "$daemon" 2>/dev/null || fail "the daemon ended at its start"
    sleep 0.05
  done
  fail "the daemon does not answer"
}

readonly hidden="the daemon is in a PID namespace of its own: workers outside of it are process 0"
start_contained
(($(grep -cF "warning $hidden" "$work/nodecommd.log") == 1)) || fail "the log does not say that processes are hidden"
perf -n 4 -b 1K -e 16K --check --gpus 4 >"$work/perf" 2>&1 || fail "no all-reduce: $(cat "$work/perf")"
"${contained[@]}" "$NODECOMM_BIN/nodecomm-perf" --runtime-dir "$runtime/workers" -n 2 -b 1K -e 4K --check --gpus 4 >"$work/perf" 2>&1 ||
  fail "no all-reduce from another container: $(cat "$work/perf")"

start_worker a 0 2
start_worker a 1 2
await a.0 calls 1
kill -KILL "${workers[a.1]}"
wait "${workers[a.1]}" 2>/dev/null || true
await a.0 "error NODECOMM_ABORTED.*rank 1 \\(process 0\\): process 0 has (died|ended)" 1
start_worker a 1 2
await a.0 ready 2

# Killed and back: without process ids it cannot watch the workers of before, so their groups are over. They form them anew.
kill -KILL "$(pgrep -P "$daemon")"
wait "$daemon" 2>/dev/null || true
start_contained
await a.0 "error NODECOMM_ABORTED.*hidden from the daemon .*while the daemon was away" 1
await a.0 ready 3
stop_workers
inside=$(pgrep -P "$daemon")
kill -TERM "$inside"
status=0
wait "$daemon" || status=$?
daemon=
((status == 0)) || fail "the daemon ended with $status on SIGTERM"

# With the host's process ids, where this test has them, nothing is hidden.
: >"$work/nodecommd.log"
start_simulated hgx-h100-x4
stop_daemon
if [[ $(readlink /proc/self/ns/pid) == "pid:[4026531836]" ]] && grep -F "$hidden" "$work/nodecommd.log"; then
  fail "the host's namespace is taken for another"
fi
