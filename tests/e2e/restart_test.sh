#!/usr/bin/env bash
# A daemon that is killed under working groups and comes back: they notice nothing, a death afterwards is noticed at once, and
# one that happened meanwhile too. A group whose record is damaged is aborted.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"
# shellcheck source=tests/e2e/workers.sh
source "$(dirname "$0")/workers.sh"

kill_daemon() {
  kill -KILL "$daemon"
  wait "$daemon" 2>/dev/null || true
}

start_simulated hgx-h100-x4
for name in a b; do
  for rank in 0 1; do start_worker $name $rank 2; done
done
for worker in a.0 a.1 b.0 b.1; do await "$worker" ready 1; done

for ((round = 1; round <= 3; ++round)); do
  kill_daemon
  done_before=$(count a.0 calls)
  start_simulated hgx-h100-x4
  await a.0 calls $((done_before + 1))
done
(($(grep -c 'group of an earlier daemon goes on: 2 ranks' "$work/nodecommd.log") == 6)) || fail "what goes on is not logged"
ctl groups --json >"$work/groups.json"
expect_json "$work/groups.json" 'len(d["groups"]) == 2 and all(g["state"] == "GROUP_STATE_READY" for g in d["groups"])'
for worker in a.0 a.1 b.0 b.1; do
  (($(count "$worker" ready) == 1)) || fail "$worker had to form its group anew: $(cat "$work/$worker.log")"
done

# A death after the restart is known at once, though the dead worker had opened its session with another daemon.
wait_for_sessions 4
kill -KILL "${workers[a.1]}"
await a.0 "error NODECOMM_ABORTED.*process ${workers[a.1]} has (died|ended)" 1
start_worker a 1 2
await a.1 ready 2
await a.0 ready 2

# A rank that waits for others when the daemon dies is told whose end it was.
start_worker c 0 2
for ((i = 0; i < 600; ++i)); do
  ctl groups | grep -q gathering && break
  sleep 0.05
done
kill_daemon
await c.0 "not-formed NODECOMM_UNAVAILABLE.*nodecommd at $runtime/control.sock has gone" 1
kill -KILL "${workers[c.0]}"
unset 'workers[c.0]'
start_simulated hgx-h100-x4
wait_for_sessions 4

# One that happens while there is no daemon.
kill_daemon
kill -KILL "${workers[b.0]}"
start_simulated hgx-h100-x4
await b.1 "error NODECOMM_ABORTED.*process ${workers[b.0]} ended while the daemon was away" 1
grep -q "info session ended (process_ended): process ${workers[b.0]} ended while the daemon was away" "$work/nodecommd.log" ||
  fail "the end of the process is not logged"
start_worker b 0 2
await b.0 ready 2

# A record that is damaged meanwhile: its group is aborted, and the log names both; the other group goes on.
ctl groups --json >"$work/groups.json"
kill_daemon
record=$(python3 -c 'import json, sys
print("group-%016x.record" % next(int(g["generation"]) for g in json.load(open(sys.argv[1]))["groups"] if g["name"] == "b"))' "$work/groups.json")
: >"$runtime/groups/$record"
start_simulated hgx-h100-x4
grep -q "warning $runtime/groups/$record is damaged: .* group=" "$work/nodecommd.log" || fail "the damage is not logged"
await b.1 "error NODECOMM_ABORTED.*is damaged" 1
await b.1 ready 3
(($(count a.0 ready) == 2)) || fail "the other group was ended as well"

# A session's record that is damaged meanwhile: likewise, and its process opens another.
ctl sessions --json >"$work/sessions.json"
kill_daemon
record=$(python3 -c 'import json, sys
print(next(s["session"] for s in json.load(open(sys.argv[1]))["sessions"] if s["pid"] == int(sys.argv[2])))' \
  "$work/sessions.json" "${workers[b.0]}").session
: >"$runtime/sessions/$record"
start_simulated hgx-h100-x4
grep -q "warning session not taken over: .*$runtime/sessions/$record, is of no use" "$work/nodecommd.log" ||
  fail "the damaged session is not logged"
await b.1 "error NODECOMM_ABORTED.*$record, is of no use" 1
await b.0 ready 3
await b.1 ready 4

# Files of groups removed under the daemon, which is killed then: a death is told all the same.
rm "$runtime"/groups/*
for ((i = 0; i < 600; ++i)); do
  (($(grep -c '\.control was removed, and is put back; .*\.record was removed, and is written again' "$work/nodecommd.log") == 2)) && break
  sleep 0.05
done
((i < 600)) || fail "files that were removed are not made again"
kill_daemon
start_simulated hgx-h100-x4
wait_for_sessions 4
kill -KILL "${workers[b.0]}"
await b.1 "error NODECOMM_ABORTED.*process ${workers[b.0]} has (died|ended)" 1
start_worker b 0 2
await b.0 ready 4
await b.1 ready 5

# All files of sessions and groups removed meanwhile: nobody can be told of a death any more, so each process is named.
kill_daemon
find "$runtime/sessions" "$runtime/groups" -type f -delete
start_simulated hgx-h100-x4
for worker in a.0 a.1 b.0 b.1; do
  for ((i = 0; i < 600; ++i)); do
    grep -qE "warning connection on session.sock refused \(no_record\): .* restart their workers.* pid=${workers[$worker]}\b" \
      "$work/nodecommd.log" && break
    sleep 0.05
  done
  ((i < 600)) || fail "$worker, which nobody watches, is not named"
done
stop_workers
ctl groups --json >"$work/groups.json"
expect_json "$work/groups.json" 'not d.get("groups")'
ctl pools --json >"$work/pools.json"
expect_json "$work/pools.json" 'all(int(p.get("bytes_in_use", 1)) == 0 for p in d["pools"])'
[[ -z $(ls -A "$runtime/groups") ]] || fail "files were left: $(ls "$runtime/groups")"
stop_daemon
[[ -z $(ls "$runtime/sessions") ]] || fail "files were left: $(ls "$runtime/sessions")"
