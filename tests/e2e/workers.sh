# shellcheck shell=bash
# Workers that form a group, reduce, and form it anew after every error (tests/chaos/chaos_worker.cc). To be sourced after
# daemon.sh. What a worker says is in $work/NAME.RANK.log.

: "${NODECOMM_CHAOS_WORKER:?the program tests/chaos/chaos_worker}"
: "${runtime:?}" "${work:?}" # of daemon.sh
declare -A workers=() # pids by NAME.RANK

# start_worker NAME RANK WORLD_SIZE OPTION...
start_worker() {
  "$NODECOMM_CHAOS_WORKER" --simulated --runtime-dir "$runtime" --name "$1" --rank "$2" --device "$2" --world-size "$3" \
    "${@:4}" >>"$work/$1.$2.log" 2>&1 &
  workers[$1.$2]=$!
}

# count WORKER PATTERN: lines with it so far.
count() { grep -cE -- " $2" "$work/$1.log" || true; }

# await WORKER PATTERN N: until it has said so N times.
await() {
  local i
  for ((i = 0; i < 1200; ++i)); do
    if (($(count "$1" "$2") >= $3)); then return 0; fi
    sleep 0.05
  done
  fail "$1 did not say '$2' $3 times: $(tail -n 20 "$work/$1.log")"
}

wait_for_sessions() {
  local i
  for ((i = 0; i < 1200; ++i)); do
    if ctl status 2>/dev/null | grep -qE "^sessions +$1\$"; then return 0; fi
    sleep 0.05
  done
  fail "not $1 sessions: $(ctl status)"
}

# In order; each must end well.
stop_workers() {
  local worker status
  kill -TERM "${workers[@]}" 2>/dev/null || true
  for worker in "${!workers[@]}"; do
    status=0
    wait "${workers[$worker]}" || status=$?
    ((status == 0)) || fail "$worker ended with $status: $(tail -n 5 "$work/$worker.log")"
  done
  workers=()
}
