#!/usr/bin/env bash
# Peer access is proven before anybody is served, kept, and proven anew; what faulty hardware makes of it; and that the
# daemon lives on.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

# --- sound hardware
start_simulated hgx-h100-x4
ctl status | grep -q '12 pairs proven, 0 failed, 0 unproven' || fail "not all 12 pairs are proven at the start"
ctl topo --why 0 GPU-51000000-0000-4000-8000-000000000003 | grep -q 'Fast path: yes' || fail "no fast path on sound hardware"
expect_failure 2 "GPU-51000000-0000-4000-8000-000000000003" ctl topo --why 0 9
ctl p2p check --force >"$work/proofs" 2>"$work/progress" || fail "p2p check: $?"
(($(grep -c ' proven ' "$work/proofs") == 12)) || fail "p2p check shows no 12 proofs: $(cat "$work/proofs")"
grep -q '12 of 12 pairs' "$work/progress" || fail "p2p check shows no progress"
cache=$runtime/peer-access.textproto
[[ $(stat -c %a "$cache") == 600 ]] || fail "the cache is not the daemon's alone"

# A host that was dumped can be simulated.
ctl topo --dump >"$work/dumped.textproto"
stop_daemon

# Nothing is proven twice in one boot; a damaged cache is proven anew.
: >"$work/nodecommd.log"
start_simulated hgx-h100-x4
if grep -q 'pairs tried' "$work/nodecommd.log"; then fail "a pair was proven twice"; fi
stop_daemon
echo 'proofs { rubbish' >"$cache"
start_simulated hgx-h100-x4
grep -q 'is damaged' "$work/nodecommd.log" || fail "nothing is said of the damaged cache"
grep -q '12 pairs tried' "$work/nodecommd.log" || fail "a damaged cache was believed"
stop_daemon
start_daemon --simulate "$work/dumped.textproto"
ctl status | grep -q '12 pairs proven' || fail "the dumped host is not the same"
stop_daemon

# --- policy
echo 'peer_access { trust_driver: true }' >"$work/trust.textproto"
rm "$cache"
start_simulated hgx-h100-x4 --config "$work/trust.textproto"
ctl status | grep -q 'driver trusted' || fail "status does not say that the driver is trusted"
perf -n 2 -b 1K -e 1K --gpus 4 --check >/dev/null || fail "no group on trust"
stop_daemon
echo 'gpu_access { gpu_uuid: "GPU-51000000-0000-4000-8000-000000000001" uid: 4294967294 }' >"$work/reserved.textproto"
start_simulated hgx-h100-x4 --config "$work/reserved.textproto"
if perf -n 2 -b 1K -e 1K --gpus 4 >"$work/out" 2>&1; then fail "a reserved GPU was given away"; fi
grep -q 'gpu_access' "$work/out" || fail "the refusal does not name its cause: $(cat "$work/out")"
stop_daemon

# --- faulty hardware: the daemon finds its programs beside itself
mkdir "$work/bin"
cp "$NODECOMM_BIN/nodecommd" "$work/bin"
cp "$NODECOMM_BIN/../tests/faulty_probe" "$work/bin/nodecomm-probe"
sound=$(cd "$NODECOMM_BIN" && pwd)
check_fault() { # FAULT COUNTS REASON EXIT-CODE-OF-CHECK
  rm -f "$cache"
  ln -sf "$sound/nodecommctl" "$work/bin/nodecommctl"
  NODECOMM_BIN=$work/bin
  NODECOMM_TEST_FAULT=$1 start_simulated hgx-h100-x4 --config "$work/short.textproto"
  NODECOMM_BIN=$sound
  ctl status | grep -q "$2" || fail "$1: $(ctl status)"
  ctl topo --why 0 1 >"$work/why"
  grep -q "Fast path: no ($3)" "$work/why" || fail "$1: $(cat "$work/why")"
  expect_failure "$4" "GPU3" ctl p2p check
  # Every rank is told, and the daemon lives on.
  if perf -n 2 -b 1K -e 1K --gpus 4 >"$work/out" 2>&1; then fail "$1: a group was formed"; fi
  grep -q 'NCCL' "$work/out" || fail "$1: $(cat "$work/out")"
  stop_daemon
}
echo 'peer_access { proof_timeout_ms: 500 }' >"$work/short.textproto"
check_fault corrupt '0 pairs proven, 12 failed' FAST_PATH_REASON_PROOF_FAILED 3
check_fault die '0 pairs proven, 0 failed, 12 unproven' FAST_PATH_REASON_UNPROVEN 4
check_fault garbage '0 pairs proven, 0 failed, 12 unproven' FAST_PATH_REASON_UNPROVEN 4
check_fault stall '0 pairs proven, 0 failed, 12 unproven' FAST_PATH_REASON_UNPROVEN 4

# A packet that is late may be the host's doing: the pair is tried again, and broken the third time in a row.
rm -f "$cache"
: >"$work/nodecommd.log"
NODECOMM_BIN=$work/bin
NODECOMM_TEST_FAULT=lose start_simulated hgx-h100-x4
NODECOMM_BIN=$sound
grep -q "warning peer access to .* could not be proven: a packet did not arrive in time" "$work/nodecommd.log" ||
  fail "a late packet is not logged"
if grep -q BROKEN "$work/nodecommd.log"; then fail "a late packet is called broken at once"; fi
ctl status | grep -q "not ready    waiting for file descriptors, memory or time" || fail "late: $(ctl status)"
for ((i = 0; i < 600; ++i)); do
  if ctl status | grep -q "6 pairs proven, 6 failed"; then break; fi
  sleep 0.05
done
((i < 600)) || fail "pairs that are late again and again: $(ctl status)"
ctl p2p show | grep -q "did not arrive in time (round 7).*, 3 times in a row" || fail "why: $(ctl p2p show)"
stop_daemon

# An answer that came while the daemon was stopped counts, though its time is up when the daemon goes on.
rm -f "$cache"
: >"$work/nodecommd.log"
echo 'peer_access { proof_timeout_ms: 1000 }' >"$work/second.textproto"
NODECOMM_TEST_FAULT=slow "$work/bin/nodecommd" --runtime-dir "$runtime" --simulate "$topologies/hgx-h100-x4.textproto" \
  --config "$work/second.textproto" >>"$work/nodecommd.log" 2>&1 &
daemon=$!
for ((i = 0; i < 600; ++i)); do
  (($(pgrep -c -P "$daemon" nodecomm-probe) == 2)) && break
  sleep 0.05
done
kill -STOP "$daemon"
SECONDS=0
for ((i = 0; i < 600; ++i)); do
  # They have ended, and nobody has asked how.
  if ((SECONDS > 5)) && ! pgrep -P "$daemon" --runstates R,S,D >/dev/null; then break; fi
  sleep 0.05
done
kill -CONT "$daemon"
for ((i = 0; i < 600; ++i)); do
  if grep -qx ready "$work/nodecommd.log"; then break; fi
  sleep 0.05
done
ctl status | grep -q "12 pairs proven" || fail "answers are thrown away: $(ctl p2p show)"
stop_daemon

# A probe that is not there any more says nothing of the pairs: what was proven stays.
rm -f "$cache"
NODECOMM_BIN=$work/bin
NODECOMM_TEST_FAULT=none start_simulated hgx-h100-x4
NODECOMM_BIN=$sound
mv "$work/bin/nodecomm-probe" "$work/away"
expect_failure 1 "$work/bin/nodecomm-probe cannot be run: No such file" ctl p2p check --force
ctl status | grep -q "12 pairs proven" || fail "the proofs are forgotten: $(ctl status)"
ctl p2p check >/dev/null || fail "nothing was to be proven"
mv "$work/away" "$work/bin/nodecomm-probe"
ctl p2p check --force >/dev/null || fail "the probe is back"
stop_daemon

# Where it has never been there, the doctor names it.
rm -f "$cache"
mv "$work/bin/nodecomm-probe" "$work/away"
NODECOMM_BIN=$work/bin
start_simulated hgx-h100-x4
NODECOMM_BIN=$sound
ctl doctor >"$work/doctor.txt" && fail "no group of this host has a fast path"
grep -q "PROBLEM  no proof.*for 12 pairs of GPUs: .*nodecomm-probe.*No such file" "$work/doctor.txt" ||
  fail "the doctor does not name the probe: $(cat "$work/doctor.txt")"
mv "$work/away" "$work/bin/nodecomm-probe"
stop_daemon

# A daemon that is told to stop while it proves does so at once.
rm -f "$cache"
: >"$work/nodecommd.log"
NODECOMM_TEST_FAULT=stall "$work/bin/nodecommd" --runtime-dir "$runtime" --simulate "$topologies/hgx-h100-x4.textproto" \
  >>"$work/nodecommd.log" 2>&1 &
daemon=$!
for ((i = 0; i < 600; ++i)); do
  if pgrep -P "$daemon" nodecomm-probe >/dev/null; then break; fi
  sleep 0.05
done
SECONDS=0
stop_daemon
((SECONDS < 5)) || fail "the daemon took $SECONDS s to stop while it proved"
