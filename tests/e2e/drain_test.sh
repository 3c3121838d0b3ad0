#!/usr/bin/env bash
# Groups that are ended by an administrator, GPUs that are taken out of service and back, and a daemon that is asked to end
# while groups work.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"
# shellcheck source=tests/e2e/workers.sh
source "$(dirname "$0")/workers.sh"

printf 'group { drain_timeout_ms: 6000 }\n' >"$work/config"
start_simulated hgx-h100-x4 --config "$work/config"
for rank in 0 1; do start_worker a $rank 2; done
for rank in 0 1; do await a.$rank ready 1; done

# An administrator ends a group; it comes back as another.
expect_failure 2 "no group is named x" ctl abort x
ctl abort a --reason "for the test" >/dev/null
for rank in 0 1; do await a.$rank "error NODECOMM_ABORTED.*for the test" 1; done
for rank in 0 1; do await a.$rank ready 2; done

# Two administrators who drain it both wait; one who takes it back ends both, and says why.
for i in 1 2; do
  ctl drain --gpu 1 >"$work/drain.$i" 2>&1 &
  drains[i]=$!
done
for ((i = 0; i < 600; ++i)); do
  if ctl topo | grep draining >/dev/null; then break; fi
  sleep 0.05
done
expect_failure 5 "a (generation" ctl drain --gpu 1 --timeout 0
ctl undrain --gpu 1 >/dev/null
for i in 1 2; do
  status=0
  wait "${drains[i]}" || status=$?
  ((status == 7)) || fail "a drain that was taken back ended with $status: $(cat "$work/drain.$i")"
  grep -q "another administrator has taken it back" "$work/drain.$i" || fail "it says: $(cat "$work/drain.$i")"
done

# Without --abort a drain waits for the groups that are there, and new ones get no fast path.
expect_failure 5 "a (generation" ctl drain --gpu 1 --timeout 0
expect_failure 2 "no GPU" ctl drain --gpu 9
ctl drain --gpu 1 --abort >"$work/drained" &
drain=$!
for rank in 0 1; do await a.$rank "error NODECOMM_ABORTED.*drained by an administrator" 1; done
for rank in 0 1; do await a.$rank "not-supported .*taken out of service" 1; done
kill -TERM "${workers[@]}"
wait "$drain" || fail "not drained: $(cat "$work/drained")"
grep -q "is drained" "$work/drained" || fail "no word of it: $(cat "$work/drained")"
grep -q "critical errors (Xid) are watched on no GPU" "$work/drained" || fail "nor of errors: $(cat "$work/drained")"
ctl status | grep -q "^GPU errors .*are watched on no GPU" || fail "status does not say what is not watched"
stop_workers
ctl pools --json >"$work/pools.json"
expect_json "$work/pools.json" 'int(d["pools"][1].get("planes_ready", 0)) == 0 and int(d["pools"][0]["planes_ready"]) == 2'

# Other GPUs are as before.
start_worker b 0 2
start_worker b 1 2 --device 2
for rank in 0 1; do await b.$rank calls 1; done
stop_workers

# A drain whose daemon dies tells that it does not know.
for rank in 0 1; do start_worker d $rank 2 --device $((rank + 2)); done
for rank in 0 1; do await d.$rank calls 1; done
ctl drain --gpu 2 >"$work/drained" 2>&1 &
drain=$!
for ((i = 0; i < 600; ++i)); do
  if grep -q GPU-51000000-0000-4000-8000-000000000002 "$runtime/drained-gpus"; then break; fi
  sleep 0.05
done

# A daemon that comes back does not take the GPU by itself.
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
status=0
wait "$drain" || status=$?
((status == 1)) || fail "a drain whose daemon died ended with $status: $(cat "$work/drained")"
stop_workers
start_simulated hgx-h100-x4 --config "$work/config"
ctl pools --json >"$work/pools.json"
expect_json "$work/pools.json" 'int(d["pools"][1].get("planes_ready", 0)) == 0 and int(d["pools"][0]["planes_ready"]) == 2'
for command in topo status; do
  text=$(ctl $command)
  grep -q drained <<<"$text" || fail "the restarted daemon does not say that a GPU is drained: $text"
  if grep -q draining <<<"$text"; then fail "$command takes a GPU that is drained for one that is draining: $text"; fi
done
ctl status --json >"$work/status.json"
expect_json "$work/status.json" '{x["state"] for x in d["drains"]} == {"DRAIN_STATE_DRAINED"} and len(d["drains"]) == 2'

ctl undrain --gpu 2 >/dev/null || (($? == 4)) || fail "undrain of one of two ended with $?"
ctl undrain --gpu 1 >/dev/null

# By the names that lspci and sysfs have for it.
place=$(ctl topo --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["gpus"][3]["pci_bus_id"])')
ctl drain --gpu "${place#00000000:}" >/dev/null || fail "drain --gpu ${place#00000000:} ended with $?"
ctl undrain --gpu "${place#0000}" >/dev/null || fail "undrain --gpu ${place#0000} ended with $?"
for rank in 0 1; do start_worker c $rank 2; done
for rank in 0 1; do await c.$rank ready 1; done
for rank in 0 1; do await c.$rank calls 1; done

# SIGTERM: no new groups, the old one may go on for a while, then it is told.
kill -TERM "$daemon"
before=$(count c.0 calls)
for ((i = 0; i < 600; ++i)); do
  if grep -q "no group is formed any more" "$work/nodecommd.log"; then break; fi
  sleep 0.01
done
ctl status >"$work/status"
grep -q '^not ready  *stopping: ' "$work/status" || fail "status does not tell that it stops: $(cat "$work/status")"
ctl doctor >"$work/doctor" || true
grep -q 'warning  it is not ready: stopping: ' "$work/doctor" || fail "nor does doctor: $(cat "$work/doctor")"
expect_failure 1 "the daemon is stopping" perf -n 2 -b 1K -e 1K --gpus 4
await c.0 calls $((before + 1))
status=0
wait "$daemon" || status=$?
daemon=
((status == 0)) || fail "the daemon ended with $status"
for rank in 0 1; do await c.$rank "error NODECOMM_ABORTED.*the daemon is stopping" 1; done
stop_workers

# A GPU that was taken out of the host while it was drained is forgotten by its UUID.
gone=GPU-99999999-0000-4000-8000-000000000001
(umask 077 && echo "$gone" >"$runtime/drained-gpus")
start_simulated hgx-h100-x4
grep -q "this host has no such GPU: nodecommctl undrain" "$work/nodecommd.log" || fail "nothing is said of the GPU that is gone"
for command in topo status doctor; do
  text=$(ctl $command)
  grep -q "$gone was drained, and this host has it no more" <<<"$text" || fail "$command does not tell of it: $text"
done
ctl topo --json >"$work/topo.json"
expect_json "$work/topo.json" '[x["state"] for x in d["drains"]] == ["DRAIN_STATE_GONE"]'
ctl undrain --gpu "$gone" | grep -q "is not in this host and drained no more" || fail "it is not forgotten"
expect_failure 2 "this host has no GPU $gone" ctl undrain --gpu "$gone"
stop_daemon
