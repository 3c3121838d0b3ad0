#!/usr/bin/env bash
# Start, a second instance, SIGTERM, a daemon that was killed, and its successor.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

start_simulated hgx-h100-x4
first=$daemon
for socket in session.sock control.sock admin/admin.sock; do
  [[ -S $runtime/$socket ]] || fail "no $socket"
done

# The second finds the lock, names who holds it, and harms nothing.
expect_failure 1 "$first" "$NODECOMM_BIN/nodecommd" --runtime-dir "$runtime" \
  --simulate "$topologies/hgx-h100-x4.textproto"
ctl status >/dev/null || fail "the first daemon does not answer any more"

stop_daemon
for socket in session.sock control.sock admin/admin.sock; do
  [[ ! -e $runtime/$socket ]] || fail "$socket was left behind"
done

# One that was killed leaves its sockets; the next takes over.
start_simulated hgx-h100-x4
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
start_simulated hgx-h100-x4
perf -n 2 -b 1K -e 1K --check --gpus 4 >/dev/null || fail "no all-reduce after a restart"

# One that ends in order, or fails to start after that, was not killed: nobody misses workers of it.
stop_daemon
[[ ! -s $runtime/nodecommd.lock ]] || fail "a daemon that ended in order still stands in its lock file"
printf 'metrics { textfile: "%s/absent/metrics.prom" }\n' "$work" >"$work/late"
expect_failure 1 "absent" "$NODECOMM_BIN/nodecommd" --runtime-dir "$runtime" --config "$work/late" \
  --simulate "$topologies/hgx-h100-x4.textproto"
[[ ! -s $runtime/nodecommd.lock ]] || fail "a daemon that failed to start stands in the lock file"
start_simulated hgx-h100-x4

# A daemon whose socket somebody removed is told from none, and to be restarted.
rm "$runtime/admin/admin.sock"
expect_failure 1 "nodecommd (process $daemon) serves $runtime" ctl status
expect_failure 6 "restart it" ctl doctor
stop_daemon
expect_failure 1 "no nodecommd at" ctl status
expect_failure 6 "start it" ctl doctor

expect_failure 2 "--no-such-option" "$NODECOMM_BIN/nodecommd" --no-such-option
expect_failure 1 "absent.textproto" "$NODECOMM_BIN/nodecommd" --runtime-dir "$runtime" \
  --simulate "$work/absent.textproto"
for program in nodecommd nodecommctl nodecomm-perf; do
  "$NODECOMM_BIN/$program" --version | grep -q '[0-9]\.[0-9]\.[0-9]' || fail "$program --version"
done

# A stack that may not grow is said before anything needs it.
low=$((192 << 10))
expect_failure 1 "the stack may have $low bytes, of at least" prlimit --stack="$low:$low" "$NODECOMM_BIN/nodecommd" \
  --runtime-dir "$runtime" --simulate "$topologies/hgx-h100-x4.textproto"
expect_failure 1 "the stack may have $low bytes, of at least" prlimit --stack="$low:$low" "$NODECOMM_BIN/nodecommctl" version
