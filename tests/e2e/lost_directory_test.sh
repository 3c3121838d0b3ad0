#!/usr/bin/env bash
# Sockets, or the whole runtime directory, removed under a running daemon: it says so once, it is not ready any more, and its
# groups go on. What a second daemon makes there outlives the first.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"
# shellcheck source=tests/e2e/workers.sh
source "$(dirname "$0")/workers.sh"

metrics=$work/nodecomm.prom
printf 'metrics { textfile: "%s" textfile_interval_ms: 1000 }\ngroup { drain_timeout_ms: 60000 }\n' "$metrics" >"$work/config"

# await_line FILE LINE: a fixed string, within 30 s.
await_line() {
  local i
  for ((i = 0; i < 600; ++i)); do
    if grep -qF -- "$2" "$1"; then return 0; fi
    sleep 0.05
  done
  fail "$1 does not say '$2'"
}

start_simulated hgx-h100-x4 --config "$work/config"
await_line "$metrics" "nodecomm_ready 1"
await_line "$metrics" "nodecomm_runtime_dir_intact 1"

# Put back: nothing is lost.
mv "$runtime/session.sock" "$work/away"
await_line "$work/nodecommd.log" "$runtime/session.sock was removed: "
await_line "$metrics" "nodecomm_runtime_dir_intact 0"
ctl status --json >"$work/status.json"
expect_json "$work/status.json" '"session.sock was removed: restart the daemon" in d["not_ready"]'
mv "$work/away" "$runtime/session.sock"
await_line "$work/nodecommd.log" "the runtime directory is whole again"
await_line "$metrics" "nodecomm_ready 1"

# Without the lock file there is still one daemon.
mv "$runtime/nodecommd.lock" "$work/away"
await_line "$work/nodecommd.log" "$runtime/nodecommd.lock was removed: "
expect_failure 1 "another nodecommd holds $runtime/groups, though somebody removed its lock file" \
  "$NODECOMM_BIN/nodecommd" --runtime-dir "$runtime" --simulate "$topologies/hgx-h100-x4.textproto"
ctl status >/dev/null || fail "the first daemon does not answer"
(($(grep -cF "$runtime/nodecommd.lock was" "$work/nodecommd.log") == 1)) || fail "said more than once"
mv "$work/away" "$runtime/nodecommd.lock"

# For workers these are errors: the doctor says so by its exit code.
mv "$runtime/control.sock" "$work/away"
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$runtime/control.sock"
chmod 0666 "$runtime/control.sock"
await_line "$work/nodecommd.log" "$runtime/control.sock was replaced by another"
expect_failure 6 "PROBLEM  $runtime/control.sock was replaced by another" ctl doctor
mv "$work/away" "$runtime/control.sock"
mv "$runtime/groups" "$work/away"
expect_failure 6 "PROBLEM  $runtime/groups is not there: no group can form" ctl doctor
mv "$work/away" "$runtime/groups"
await_line "$metrics" "nodecomm_ready 1"

for rank in 0 1; do start_worker g $rank 2; done
await g.0 calls 1

# A group's files: what can be written again is.
record=$(ls "$runtime"/groups/*.record)
rm "$record"
await_line "$work/nodecommd.log" "$record was removed, and is written again group="
[[ -s $record ]] || fail "the record is not there"
page=$(ls "$runtime"/groups/*.control)
rm "$runtime"/groups/*
await_line "$work/nodecommd.log" "$page was removed, and is put back; $record was removed, and is written again group="
await_line "$metrics" "nodecomm_groups_without_files 0"
find "$runtime/groups" ! -name '*.record' -type f -delete
await_line "$work/nodecommd.log" "$page was removed: the group goes on"
await_line "$metrics" "nodecomm_groups_without_files 1"
ctl groups --json >"$work/groups.json"
expect_json "$work/groups.json" '"was removed: the group goes on" in d["groups"][0]["files_problem"]'
ctl doctor | grep -qF "$page was removed: the group goes on" || fail "the doctor says: $(ctl doctor)"

# A page that somebody emptied: the group ends, with that reason. Not the one of the group above,
# whose workers would die of it; what the doctor says until the daemon looks is a unit test's.
for rank in 2 3; do start_worker s $((rank - 2)) 2 --device $rank; done
for rank in 0 1; do await s.$rank calls 1; done
kill -STOP "${workers[s.0]}" "${workers[s.1]}"
page=$(ls "$runtime"/groups/*.control)
[[ -s $page ]] || fail "not one page: $page"
: >"$page"
await_line "$work/nodecommd.log" "(page_cut)"
grep -F "(page_cut)" "$work/nodecommd.log" | grep -qF "$page" || fail "the line does not name the page"
kill -KILL "${workers[s.0]}" "${workers[s.1]}"
wait "${workers[s.0]}" "${workers[s.1]}" 2>/dev/null || true
unset "workers[s.0]" "workers[s.1]"

rm -r "$runtime"
await_line "$work/nodecommd.log" "$runtime was removed: "
grep -F "$runtime was removed: " "$work/nodecommd.log" | grep -q "restart it. Groups that are ready go on" || fail "no advice"
await_line "$metrics" "nodecomm_ready 0"
await_line "$metrics" "nodecomm_runtime_dir_intact 0"
expect_failure 1 "nodecommd (process $daemon) serves $runtime" ctl status
expect_failure 6 "restart it: systemctl restart nodecommd" ctl doctor
calls=$(count g.0 calls)
await g.0 calls $((calls + 2))

# A second daemon starts, which nothing keeps it from; the end of the first leaves it be.
first=$daemon
start_simulated hgx-h100-x4
expect_failure 6 "nodecommd (process $first) was started for $runtime, too" ctl doctor
(($(grep -cF "$runtime was removed: " "$work/nodecommd.log") == 1)) || fail "said more than once"
kill -TERM "$first"
stop_workers
wait "$first" || fail "the first daemon ended with $?"
ctl status >/dev/null || fail "the first daemon took the second one's socket along"
perf -n 2 -b 1K -e 1K --check --gpus 4 >/dev/null || fail "no all-reduce with the second daemon"
stop_daemon

# Something else stands where the directory was.
start_simulated hgx-h100-x4
mv "$runtime" "$work/away"
mkdir "$runtime"
expect_failure 6 "nodecommd (process $daemon) runs, but $runtime is not its directory any more" ctl doctor
rmdir "$runtime"
mv "$work/away" "$runtime"
ctl status >/dev/null || fail "it does not answer in its own directory"
if mount -t tmpfs none "$runtime" 2>/dev/null; then
  expect_failure 6 "nodecommd (process $daemon) runs, but $runtime is not its directory any more" ctl doctor
  umount "$runtime"
else
  echo "skipped: mounts are not allowed here"
fi
stop_daemon
