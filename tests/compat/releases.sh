#!/usr/bin/env bash
# Two releases together on a simulated host, as deploy/UPGRADE.md promises: either's programs with the other's daemon, groups with
# ranks of both, and a daemon that takes the other's place under running groups.
#
#   releases.sh OLD NEW    trees with the dev preset's programs built; run by tests/run.sh release
set -euo pipefail
old=$1 new=$2
NODECOMM_BIN=$new/build/dev/bin
NODECOMM_CHAOS_WORKER=$new/build/dev/tests/chaos_worker
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/../e2e/daemon.sh"
# shellcheck source=tests/e2e/workers.sh
source "$(dirname "$0")/../e2e/workers.sh"
# A host that either knows.
# shellcheck disable=SC2034 # read by daemon.sh
topologies=$old/tests/topologies

# What is started from now on is of this tree.
use() {
  NODECOMM_BIN=$1/build/dev/bin
  NODECOMM_CHAOS_WORKER=$1/build/dev/tests/chaos_worker
}

other() { if [[ $1 == "$old" ]]; then echo "$new"; else echo "$old"; fi; }
version() { "$1/build/dev/bin/nodecommd" --version | cut -d' ' -f2-; }
number() { sed -n "s/.* $2 = \([0-9]*\);.*/\1/p" "$1/kernels/$3"; }

# Ranks of both may be in one group.
same_planes() {
  [[ $(number "$old" kPlaneAbi plane_layout.h) == "$(number "$new" kPlaneAbi plane_layout.h)" &&
    $(number "$old" kAlgorithmTableVersion selection.h) == "$(number "$new" kAlgorithmTableVersion selection.h)" ]]
}

kill_daemon() {
  kill -KILL "$daemon"
  wait "$daemon" 2>/dev/null || true
}

# The tools of $1, with the daemon that runs.
check_tools() {
  use "$1"
  local ranks command
  for ranks in 2 4; do
    perf -n "$ranks" -b 1K -e 4M -f 16 -d f32,bf16 --check --gpus 4 --json "$work/perf.json" >/dev/null ||
      fail "nodecomm-perf of $(version "$1"), $ranks ranks"
    expect_json "$work/perf.json" "len(d['results']) == 8 and all(r['ranks'] == $ranks and r['wrong'] == 0 for r in d['results'])"
  done
  for command in status groups topo pools; do
    ctl "$command" >/dev/null || fail "nodecommctl $command of $(version "$1")"
    ctl "$command" --json >"$work/$command.json" || fail "nodecommctl $command --json of $(version "$1")"
  done
  expect_json "$work/status.json" 'd["gpus"] == 4 and d["platform"] == "PLATFORM_SIMULATED"'
  # It is what one asks about two versions; 6: it found something, as it may on this host.
  if [[ $1 == "$new" ]]; then
    ctl doctor --json >"$work/doctor.json" || (($? == 6)) || fail "nodecommctl doctor"
    expect_json "$work/doctor.json" 'all(f["verdict"] == "DOCTOR_VERDICT_OK" for f in d["findings"] if f["check"] == "socket")'
  fi
  expect_json "$work/topo.json" 'len(d["gpus"]) == 4 and len(d["links"]) == 12'
}

# Two ranks, of two trees, in a group named $1.
start_pair() { # NAME TREE0 TREE1
  use "$2"
  start_worker "$1" 0 2
  use "$3"
  start_worker "$1" 1 2
}

# Each group goes on: another thousand calls, all sums right, and was never formed anew.
check_working() {
  local name rank before
  for name in "$@"; do
    for rank in 0 1; do
      before=$(count "$name.$rank" calls)
      await "$name.$rank" calls $((before + 1))
      (($(count "$name.$rank" ready) == 1)) || fail "$name.$rank formed its group anew: $(cat "$work/$name.$rank.log")"
    done
  done
}

check_groups_listed() { # by TREE, COUNT
  use "$1"
  ctl groups --json >"$work/groups.json"
  expect_json "$work/groups.json" \
    "len(d['groups']) == $2 and all(g['state'] == 'GROUP_STATE_READY' and len(g['members']) == 2 for g in d['groups'])"
}

# The daemon of $1, then that of the other under the groups of the first, then the first again.
check_daemon() {
  local mine=$1 theirs groups=(mine theirs mixed) daemon_of worker
  theirs=$(other "$mine")
  echo "== daemon of $(version "$mine"); tools and workers of $(version "$theirs")"
  use "$mine"
  start_simulated hgx-h100-x4
  check_tools "$theirs"

  start_pair mine "$mine" "$mine"
  start_pair theirs "$theirs" "$theirs"
  start_pair mixed "$old" "$new"
  if ! same_planes; then
    groups=(mine theirs)
    await mixed.0 "not-formed .*disagree on the .*\(library versions\): rank [01] says [0-9]+, rank [01] says [0-9]+" 1
    kill -TERM "${workers[mixed.0]}" "${workers[mixed.1]}"
    for worker in mixed.0 mixed.1; do
      wait "${workers[$worker]}" || fail "$worker, which was refused, ended with $?"
      unset "workers[$worker]"
    done
    # They may have joined once more, and the daemon hears of their end a little later.
    wait_for_sessions 4
    echo "   a group with ranks of both is refused, as their planes or choices differ"
  fi
  check_working "${groups[@]}"
  check_groups_listed "$theirs" ${#groups[@]}
  for daemon_of in "$theirs" "$mine"; do
    echo "   killed; $(version "$daemon_of") takes its place"
    kill_daemon
    use "$daemon_of"
    start_simulated hgx-h100-x4
    check_working "${groups[@]}"
    check_groups_listed "$old" ${#groups[@]}
    check_groups_listed "$new" ${#groups[@]}
  done
  stop_workers
  use "$mine"
  stop_daemon
  rm -f "$work"/*.log
}

echo "== $(version "$old") and $(version "$new")"
check_daemon "$old"
check_daemon "$new"

echo "== programs and settings of $(version "$old") after an upgrade"
"$new/build/dev/bin/nodecommd" --check-config --config "$old/deploy/nodecommd.textproto" >/dev/null || fail "the old configuration is refused"
library=$(objdump -p "$old/build/dev/bin/nodecomm-perf" | sed -n 's/^ *NEEDED *\(libnodecomm\.so\..*\)/\1/p')
if [[ -e $new/build/dev/lib/$library ]]; then
  use "$new"
  start_simulated hgx-h100-x4
  use "$old"
  export LD_LIBRARY_PATH=$new/build/dev/lib
  ldd "$NODECOMM_BIN/nodecomm-perf" | grep -qF "$library => $LD_LIBRARY_PATH/$library" || fail "the new $library is not taken"
  perf -n 4 -b 1K -e 1M -f 32 --check --gpus 4 >/dev/null || fail "the old nodecomm-perf with the new library"
  stop_daemon
else
  echo "   $library is no more: its programs keep the old one"
fi
echo "passed"
