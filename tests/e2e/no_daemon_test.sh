#!/usr/bin/env bash
# Without a daemon every program says so, where it looked, and ends.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

expect_failure 1 "no nodecommd at $runtime" perf -n 2 -b 1K -e 1K
expect_failure 1 "$runtime" ctl status
mkdir "$runtime"
expect_failure 1 "no nodecommd at $runtime" perf -n 2 -b 1K -e 1K

# A relative directory would be another one to each program; an empty one is a variable that was not set.
for command in "nodecommd --check-config" "nodecommctl status" "nodecomm-perf -n 1"; do
  read -ra words <<<"$command"
  words[0]=$NODECOMM_BIN/${words[0]}
  expect_failure 2 "'' is not an absolute path" "${words[@]}" --runtime-dir ""
  expect_failure 2 "'run' is not an absolute path" "${words[@]}" --runtime-dir run
  NODECOMM_RUNTIME_DIR=run expect_failure 2 "'run' is not an absolute path" "${words[@]}"
done

# The environment names the directory where no option does.
NODECOMM_RUNTIME_DIR=$work/other expect_failure 1 "$work/other" "$NODECOMM_BIN/nodecomm-perf" -n 1
NODECOMM_RUNTIME_DIR=$work/other expect_failure 1 "$work/other" "$NODECOMM_BIN/nodecommctl" topo
