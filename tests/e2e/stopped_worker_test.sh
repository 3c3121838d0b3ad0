#!/usr/bin/env bash
# A rank that is stopped is shown to the administrator before any deadline names it, and not any more once it goes on.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"
# shellcheck source=tests/e2e/workers.sh
source "$(dirname "$0")/workers.sh"

# await_state STATE: what the daemon says of rank 1's process.
await_state() {
  local i
  for ((i = 0; i < 600; ++i)); do
    ctl sessions --json >"$work/sessions.json"
    if python3 - "$work/sessions.json" "$victim" "$1" <<'PYTHON'; then return 0; fi
import json, sys
sessions = json.load(open(sys.argv[1]))["sessions"]
sys.exit([s["process_state"] for s in sessions if s["pid"] == int(sys.argv[2])] != [sys.argv[3]])
PYTHON
    sleep 0.05
  done
  fail "process $victim is not $1: $(cat "$work/sessions.json")"
}

start_simulated hgx-h100-x4
for rank in 0 1; do start_worker stop "$rank" 2; done
for rank in 0 1; do await "stop.$rank" ready 1; done
victim=${workers[stop.1]}

kill -STOP "$victim"
await_state PROCESS_STATE_STOPPED
ctl sessions | grep -qE " $victim .* stopped\$" || fail "not stopped: $(ctl sessions)"
ctl groups >"$work/groups"
grep -qE "^ +rank 1 +pid $victim .* stopped\$" "$work/groups" || fail "rank 1 is not stopped: $(cat "$work/groups")"
if grep -E "rank 0" "$work/groups" | grep -q stopped; then fail "rank 0 is stopped: $(cat "$work/groups")"; fi

# A GPU that it holds cannot be drained: it names the process, which may be on another GPU, says that it was told, and logs that once.
for gpu in 1 0; do
  expect_failure 5 "rank 1, process $victim, which is stopped (kill -CONT $victim, or end it)" ctl drain --gpu $gpu --timeout 0
  ctl undrain --gpu $gpu >/dev/null
done
ctl drain --gpu 0 --abort --timeout 1 >"$work/drain" && fail "drained: $(cat "$work/drain")"
grep -qF "these groups were told to end, and hold it until their processes do:" "$work/drain" || fail "it says: $(cat "$work/drain")"
grep -qE "stop \(generation [0-9]+, aborted\): rank 1, process $victim, which is stopped" "$work/drain" || fail "it says: $(cat "$work/drain")"
(($(grep -c "groups there are aborted" "$work/nodecommd.log") == 1)) || fail "said again and again"
expect_failure 0 "the group has ended, and its memory is held" ctl doctor
ctl undrain --gpu 0 >/dev/null

kill -CONT "$victim"
await_state PROCESS_STATE_GOES_ON
if ctl sessions | grep -q stopped; then fail "still stopped: $(ctl sessions)"; fi
stop_workers
stop_daemon
