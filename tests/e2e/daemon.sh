# shellcheck shell=bash
# For the end-to-end scripts: a daemon of the test's own, and checks that say what was expected. To be sourced.
# See tests/README.md.
set -euo pipefail

: "${NODECOMM_BIN:?the directory of the built programs}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
topologies=$here/../topologies
# Short, since a socket's path may have 107 bytes only.
work=$(mktemp -d /tmp/nodecomm-e2e.XXXXXX)
runtime=$work/run
daemon=

cleanup() {
  local status=$?
  if [[ -n $daemon ]]; then
    kill -KILL "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
  fi
  if ((status != 0)) && [[ -s $work/nodecommd.log ]]; then
    echo "--- the daemon's log:"
    cat "$work/nodecommd.log"
  fi
  rm -rf "$work"
}
trap cleanup EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# start_daemon OPTION...: returns when it says that groups form; 30 s at most.
start_daemon() {
  local i before
  before=$(grep -cx ready "$work/nodecommd.log" 2>/dev/null || true)
  "$NODECOMM_BIN/nodecommd" --runtime-dir "$runtime" "$@" >>"$work/nodecommd.log" 2>&1 &
  daemon=$!
  for ((i = 0; i < 600; ++i)); do
    if (($(grep -cx ready "$work/nodecommd.log") > before)); then return 0; fi
    kill -0 "$daemon" 2>/dev/null || fail "the daemon ended at its start"
    sleep 0.05
  done
  fail "the daemon does not become ready"
}

start_simulated() {
  start_daemon --simulate "$topologies/$1.textproto" "${@:2}"
}

# Ends it as an administrator would; fails unless that is clean.
stop_daemon() {
  local status=0
  kill -TERM "$daemon"
  wait "$daemon" || status=$?
  daemon=
  ((status == 0)) || fail "the daemon ended with $status on SIGTERM"
}

ctl() { "$NODECOMM_BIN/nodecommctl" "$@" --runtime-dir "$runtime"; }
perf() { "$NODECOMM_BIN/nodecomm-perf" --runtime-dir "$runtime" "$@"; }

# expect_failure CODE TEXT COMMAND...: the command must end with CODE and say TEXT (a fixed string).
expect_failure() {
  local code=$1 text=$2 status=0 output
  shift 2
  output=$("$@" 2>&1) || status=$?
  ((status == code)) || fail "'$*' ended with $status, not $code: $output"
  grep -qF -- "$text" <<<"$output" || fail "'$*' does not say '$text' but: $output"
}

# expect_json FILE EXPRESSION: a Python expression over the document `d` must hold.
expect_json() {
  python3 - "$1" "$2" <<'PYTHON' || fail "$1: not so: $2"
import json, sys
d = json.load(open(sys.argv[1]))
if not eval("(" + sys.argv[2] + ")"):
    sys.exit("in " + json.dumps(d)[:4000])
PYTHON
}
