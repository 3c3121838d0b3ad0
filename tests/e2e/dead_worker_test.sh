#!/usr/bin/env bash
# A worker that is killed ends the whole run soon, with an error that names the rank.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

start_simulated hgx-h100-x4
# Not through the function, whose shell would be the process.
"$NODECOMM_BIN/nodecomm-perf" --runtime-dir "$runtime" -n 3 -b 1K -e 1K --iters 100000 --gpus 4 >"$work/output" 2>&1 &
running=$!
for ((i = 0; i < 600; ++i)); do
  if grep -q '# mode eager' "$work/output"; then break; fi
  sleep 0.05
done
victim=$(tr ' ' '\n' <"/proc/$running/task/$running/children" | sed -n 2p)
[[ -n $victim ]] || fail "no second worker: $(cat "$work/output")"
kill -KILL "$victim"
status=0
wait "$running" || status=$?
((status == 1)) || fail "the run ended with $status: $(cat "$work/output")"
grep -q "rank 1: process $victim was killed by signal 9" "$work/output" ||
  fail "no cause in: $(cat "$work/output")"

# The daemon is as before.
perf -n 3 -b 1K -e 1K --check --gpus 4 >/dev/null || fail "no all-reduce afterwards"
stop_daemon
