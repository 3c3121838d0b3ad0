#!/usr/bin/env bash
# Workers in namespaces of their own (user, PID, IPC, mount), as containers have them: they form groups with each other and with
# workers outside, and their deaths are known as fast.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"
# shellcheck source=tests/e2e/workers.sh
source "$(dirname "$0")/workers.sh"

readonly contained=(unshare --user --map-root-user --pid --fork --kill-child --ipc --mount)
if ! "${contained[@]}" true 2>/dev/null; then
  echo "skipped: no namespaces here"
  exit 77
fi

start_simulated hgx-h100-x4
"${contained[@]}" "$NODECOMM_BIN/nodecomm-perf" --runtime-dir "$runtime" -n 2 -b 1K -e 64K --check --gpus 4 >"$work/perf" 2>&1 ||
  fail "no all-reduce in namespaces: $(cat "$work/perf")"

# One inside, one outside. Both have the same user: root of the namespace is its maker.
start_worker a 0 2
"${contained[@]}" "$NODECOMM_CHAOS_WORKER" --simulated --runtime-dir "$runtime" --name a --rank 1 --device 1 --world-size 2 \
  >"$work/a.1.log" 2>&1 &
container=$!
await a.0 calls 1
await a.1 calls 1

# Within the namespace its pid is 1 or 2; the daemon and its peers know it by the host's.
inside=$(pgrep -f "chaos_worker .*$runtime .*--rank 1" | while read -r pid; do
  if [[ $(readlink "/proc/$pid/exe") == *chaos_worker ]]; then echo "$pid"; fi
done | head -n 1)
[[ -n $inside ]] || fail "no worker inside"
kill -KILL "$inside"
await a.0 "error NODECOMM_ABORTED.*rank 1 \\(process $inside\\): process $inside has (died|ended)" 1
wait "$container" || true
start_worker a 1 2
await a.0 ready 2
stop_workers
stop_daemon
