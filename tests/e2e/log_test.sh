#!/usr/bin/env bash
# The log as JSON and for systemd's journal: one object a line, whatever workers name their groups; who each event is about; no
# token, also at the lowest level.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"
# shellcheck source=tests/e2e/workers.sh
source "$(dirname "$0")/workers.sh"

echo 'log_format: "json"' >"$work/json.textproto"
# work_on NAME: a group forms and one of its members dies; the others' sessions stay open.
work_on() {
  local odd=$1$' "name\n{}'
  start_worker "$1" 0 2
  start_worker "$1" 1 2
  await "$1.0" ready 1
  start_worker "$odd" 0 1
  await "$odd.0" ready 1
  kill -KILL "${workers[$1.1]}"
  await "$1.0" error 1
  wait_for_sessions 2
}
# check_log PREFIX_PATTERN: within 10 s; a line may come after what it tells of.
check_log() {
  local i
  for ((i = 0; i < 100; ++i)); do
    if python3 "$here/log_check.py" "$work/nodecommd.log" "$runtime/sessions" "$1" 2>"$work/check.txt"; then return 0; fi
    sleep 0.1
  done
  fail "the log: $(cat "$work/check.txt")"
}
end_workers() {
  kill -KILL "${workers[@]}" 2>/dev/null || true
  wait "${workers[@]}" 2>/dev/null || true
  workers=()
}

start_simulated hgx-h100-x4 --config "$work/json.textproto" --log-level trace
work_on stream
check_log ""
end_workers
stop_daemon

# systemd names the file that is its journal.
: >"$work/nodecommd.log"
JOURNAL_STREAM=$(stat -c %d:%i "$work/nodecommd.log")
export JOURNAL_STREAM
start_simulated hgx-h100-x4 --config "$work/json.textproto" --log-level trace
work_on journal
check_log '<[3467]>'
grep -q '^<4>.*could not join\|^<4>.*group ended' "$work/nodecommd.log" || fail "warnings have no priority"
end_workers
stop_daemon

# As text, and not into the journal: what is there is somebody else's file.
: >"$work/text.log"
JOURNAL_STREAM=$(stat -c %d:%i "$work/text.log")
: >"$work/nodecommd.log"
start_simulated hgx-h100-x4
stop_daemon
grep -qE '^[0-9-]+T[0-9:.+]+ info ready: ' "$work/nodecommd.log" || fail "the log as text: $(head -n 3 "$work/nodecommd.log")"
if grep -q $'\033' "$work/nodecommd.log"; then fail "colours in a file"; fi
echo 'log_format: "xml"' >"$work/xml"
expect_failure 1 'log_format: "xml"' "$NODECOMM_BIN/nodecommd" --check-config --config "$work/xml"

# A disk that is full: the lines are counted.
printf 'metrics { textfile: "%s/n.prom" textfile_interval_ms: 1000 }\n' "$work" >"$work/config"
"$NODECOMM_BIN/nodecommd" --runtime-dir "$runtime" --simulate "$topologies/hgx-h100-x4.textproto" --config "$work/config" \
  >"$work/out" 2>/dev/full &
daemon=$!
for ((i = 0; i < 200; ++i)); do
  if grep -qE '^nodecomm_log_lines_lost_total\{reason="not_written"\} [1-9]' "$work/n.prom" 2>/dev/null; then break; fi
  sleep 0.1
done
((i < 200)) || fail "lines that cannot be written are not counted: $(cat "$work/n.prom")"
lost="lines of the log are lost: they could not be written: No space left on device"
for command in status doctor; do
  ctl $command >"$work/told" || fail "$command ended with $?"
  grep -F "$lost" "$work/told" >/dev/null || fail "$command does not tell of the log: $(cat "$work/told")"
done
stop_daemon

# A log that was removed under the daemon.
start_simulated hgx-h100-x4
mv "$work/nodecommd.log" "$work/rotated"
for command in status doctor; do
  ctl $command >"$work/told" || fail "$command ended with $?"
  if grep -F "log's file" "$work/told"; then fail "$command tells of a log that was only moved"; fi
done
rm "$work/rotated"
kill -USR1 "$daemon" # is logged
for ((i = 0; i < 200; ++i)); do
  ctl status >"$work/told"
  if grep -qF "the log's file was removed" "$work/told"; then break; fi
  sleep 0.1
done
((i < 200)) || fail "status does not tell of a log that was removed: $(cat "$work/told")"
ctl doctor >"$work/told" || fail "doctor ended with $?"
grep -A1 -F "the log's file was removed" "$work/told" | grep -qF copytruncate || fail "the doctor does not: $(cat "$work/told")"
stop_daemon

# Too few descriptors for the sessions that the configuration allows. The last step: the limit cannot be raised again.
ulimit -n 1024
start_simulated hgx-h100-x4
stop_daemon
grep -q 'may open 1024 files, too few for 1024 sessions .*set LimitNOFILE=7168' "$work/nodecommd.log" || fail "too few descriptors are not said"
