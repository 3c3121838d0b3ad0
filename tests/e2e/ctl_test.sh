#!/usr/bin/env bash
# What nodecommctl shows of a running daemon, as text and as JSON; and what it says without one.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

for command in topo status groups pools sessions "config show" top version; do
  # shellcheck disable=SC2086 # words of a command
  expect_failure 1 "$runtime" ctl $command
done
expect_failure 6 "no nodecommd" ctl doctor
expect_failure 2 "" ctl no-such-command

cp "$topologies/hgx-h100-x4.textproto" "$work/host.textproto"
start_daemon --simulate "$work/host.textproto"
ctl topo | grep -q 'GPU0.*NV18' || fail "topo shows no NVLinks"
for command in status groups pools; do
  ctl "$command" >/dev/null || fail "$command"
done

ctl topo --json >"$work/topo.json"
expect_json "$work/topo.json" 'len(d["gpus"]) == 4 and len(set(g["uuid"] for g in d["gpus"])) == 4'
expect_json "$work/topo.json" 'len(d["links"]) >= 6'
ctl status --json >"$work/status.json"
expect_json "$work/status.json" 'isinstance(d, dict) and len(d) > 0'
ctl groups --json >"$work/groups.json"
expect_json "$work/groups.json" 'd["groups"] == []'
ctl pools --json >"$work/pools.json"
expect_json "$work/pools.json" 'len(d["pools"]) == 4'

ctl doctor --json >"$work/doctor.json" || fail "the doctor finds: $(ctl doctor)"
expect_json "$work/doctor.json" 'd["problems"] == 0 and len(d["findings"]) >= 12'
chmod 0600 "$runtime/control.sock"
ctl doctor | grep -q 'connect to control.sock (mode 0600), workers/control.sock (mode 0600)' || fail "the doctor does not name the closed socket"
chmod 0666 "$runtime/control.sock"
ctl version | grep -q '^nodecommd ' || fail "no version of the daemon"
# What is in force is a configuration that the daemon takes.
ctl config show >"$work/in-force.textproto"
"$NODECOMM_BIN/nodecommd" --config "$work/in-force.textproto" --check-config >/dev/null || fail "config show is no config"
grep -q '^  sessions_max: 1024$' "$work/in-force.textproto" || fail "no default in config show"

# A GPU that falls off the bus is seen by whoever asks next.
sed -i '0,/^ *uuid: "/s//  condition: GPU_CONDITION_LOST condition_reason: "off the bus" uuid: "/' "$work/host.textproto"
expect_failure 6 "): lost: off the bus" ctl doctor
ctl status | grep -qx 'GPUs  *4, 1 lost' || fail "status does not tell of the lost GPU: $(ctl status)"
stop_daemon
start_simulated hgx-h100-x4

ctl status --json >"$work/idle.json"
# A group that is at work shows with its members; its memory comes back afterwards.
# Not through the function, whose shell would be the process.
"$NODECOMM_BIN/nodecomm-perf" --runtime-dir "$runtime" -n 2 -b 1K -e 1K --iters 100000 --gpus 4 >/dev/null 2>&1 &
running=$!
seen=no
for ((i = 0; i < 600; ++i)); do
  ctl groups --json >"$work/groups.json"
  if grep -q nodecomm-perf "$work/groups.json"; then
    seen=yes
    break
  fi
  sleep 0.05
done
[[ $seen == yes ]] || fail "groups does not show a group at work"
expect_json "$work/groups.json" 'len(d["groups"]) == 1'
# What the doctor reckons with: seven descriptors a session, planes and groups included.
ctl status --json >"$work/status.json"
expect_json "$work/status.json" "0 < d['open_fds'] - json.load(open('$work/idle.json'))['open_fds'] <= 2 * 7"
ctl top --count 1 | grep -q nodecomm-perf || fail "top does not show the group"
# On a terminal that is too small it shows the beginning, and so what is missing.
if [[ -n $(type -P script) ]]; then
  script -qec "stty rows 8; '$NODECOMM_BIN/nodecommctl' top --interval 0.2 --count 2 --runtime-dir '$runtime'" /dev/null >"$work/small" </dev/null
  view=$(head -c "$(grep -abo $'\033\\[?7h' "$work/small" | head -n 1 | cut -d: -f1)" "$work/small")
  (($(wc -l <<<"$view") <= 8)) || fail "top does not fit its terminal: $view"
  grep -q "more lines)" <<<"$view" || fail "top does not say that it is cut: $view"
fi
ctl sessions --json >"$work/sessions.json"
expect_json "$work/sessions.json" 'len(d["sessions"]) == 2 and all(len(s["session"]) == 16 for s in d["sessions"])'
# The parent alone is killed: its workers must not outlive it, nor their group.
kill -KILL "$running"
wait "$running" 2>/dev/null || true
for ((i = 0; i < 600; ++i)); do
  ctl groups --json >"$work/groups.json"
  grep -q nodecomm-perf "$work/groups.json" || break
  sleep 0.05
done
expect_json "$work/groups.json" 'd["groups"] == []'

# One that is stopped is told from one that hangs, or that nobody started.
kill -STOP "$daemon"
expect_failure 6 "nodecommd (process $daemon) is stopped" ctl doctor
kill -CONT "$daemon"
stop_daemon

# top goes on over a restart, and says so; what is bounded ends with its daemon.
# await_line FILE N PATTERN: until N lines of it match; 30 s at most.
await_line() {
  local i lines
  for ((i = 0; i < 600; ++i)); do
    lines=$(grep -cs -- "$3" "$1" || true)
    if ((${lines:-0} >= $2)); then return 0; fi
    sleep 0.05
  done
  fail "$1 has no $2 lines with '$3': $(cat "$1")"
}
start_simulated hgx-h100-x4
# Not by the function: the signal is for the program.
"$NODECOMM_BIN/nodecommctl" top --interval 0.2 --json --runtime-dir "$runtime" >"$work/views" 2>"$work/said" &
top=$!
ctl top --interval 0.2 --json --count 100000 >"$work/bounded" 2>&1 &
bounded=$!
await_line "$work/views" 1 "\"pid\":$daemon,"
await_line "$work/bounded" 1 "\"pid\":$daemon,"
stop_daemon
status=0
wait "$bounded" || status=$?
((status == 1)) || fail "top --count ended with $status, not 1, when its daemon went"
await_line "$work/said" 1 "top goes on when it answers again"
start_simulated hgx-h100-x4
await_line "$work/views" 2 "\"pid\":$daemon,"
await_line "$work/said" 1 "nodecommd answers, pid $daemon"
(($(grep -c "goes on" "$work/said") == 1)) || fail "said more than once: $(cat "$work/said")"
kill -TERM "$top"
status=0
wait "$top" || status=$?
((status == 128 + 15)) || fail "top ended with $status on a signal"
stop_daemon
