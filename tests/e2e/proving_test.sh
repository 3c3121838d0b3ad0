#!/usr/bin/env bash
# A daemon that comes back and takes long to prove its GPUs: workers of the earlier one and administrators are served meanwhile,
# new groups wait, and it can be told to end.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"
# shellcheck source=tests/e2e/workers.sh
source "$(dirname "$0")/workers.sh"

# The same daemon beside a probe that is not done before it is told so.
mkdir "$work/bin"
ln "$NODECOMM_BIN/nodecommd" "$work/bin" 2>/dev/null || cp "$NODECOMM_BIN/nodecommd" "$work/bin"
printf '#!/bin/sh\nwhile [ ! -e "%s" ]; do sleep 0.05; done\nexec "%s" "$@"\n' "$work/prove" \
  "$NODECOMM_BIN/nodecomm-probe" >"$work/bin/nodecomm-probe"
chmod +x "$work/bin/nodecomm-probe"
printf 'peer_access { proof_timeout_ms: 60000 } group { drain_timeout_ms: 60000 }\n' >"$work/config"

restart_proving() {
  kill -KILL "$daemon"
  wait "$daemon" 2>/dev/null || true
  rm -f "$runtime/peer-access.textproto" "$work/prove"
  "$work/bin/nodecommd" --runtime-dir "$runtime" --simulate "$topologies/hgx-h100-x4.textproto" --config "$work/config" \
    >>"$work/nodecommd.log" 2>&1 &
  daemon=$!
}

start_simulated hgx-h100-x4
for name in a b; do
  for rank in 0 1; do start_worker $name $rank 2; done
done
for worker in a.0 a.1 b.0 b.1; do await "$worker" ready 1; done

# A death is noticed, though no pair is proven yet; the group that would come next has to wait.
restart_proving
kill -KILL "${workers[a.1]}"
await a.0 "error NODECOMM_ABORTED" 1
start_worker a 1 2
for ((i = 0; i < 200; ++i)); do
  if grep -q "session opened .* pid=${workers[a.1]}\$" "$work/nodecommd.log"; then break; fi
  sleep 0.05
done
grep -q "session opened .* pid=${workers[a.1]}\$" "$work/nodecommd.log" || fail "the new worker got no session"
(($(count a.0 ready) == 1)) || fail "a group formed before the proofs were done"
# Administrators are answered, and told what is waited for.
grep -q "proving peer access of 12 pairs of GPUs: 3 rounds, 1m3s each at most" "$work/nodecommd.log" || fail "not logged"
ctl status --json >"$work/status.json"
expect_json "$work/status.json" 'd["not_ready"] == "waiting for proofs of peer access: 0 of 12 pairs are done"'
ctl topo --json >"$work/topo.json"
expect_json "$work/topo.json" 'd["check"]["running"] and len(d["gpus"]) == 4'
ctl groups >"$work/groups" || fail "groups are not shown"
touch "$work/prove"
await a.1 ready 1
await a.0 ready 2

# SIGTERM before the proofs are done: groups may finish, and that is noticed.
restart_proving
for ((i = 0; i < 200; ++i)); do
  if [[ $(grep -c "session opened .* pid=${workers[b.0]}\$" "$work/nodecommd.log") -ge 3 ]]; then break; fi
  sleep 0.05
done
kill -TERM "$daemon"
for ((i = 0; i < 200; ++i)); do
  if grep -q "no group is formed any more" "$work/nodecommd.log"; then break; fi
  sleep 0.05
done
stop_workers
status=0
SECONDS=0
wait "$daemon" || status=$?
daemon=
((status == 0)) || fail "the daemon ended with $status"
((SECONDS < 30)) || fail "the daemon waited for groups that had finished"
