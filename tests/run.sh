#!/usr/bin/env bash
# The tests, from a checkout. Installs packages if some are missing (root). See tests/README.md.
#
#   tests/run.sh                        build into build/dev and run every test that needs no GPU
#   tests/run.sh gpu                    on a host with GPUs: build into build/cuda, run the GPU tests and checks; fails without GPUs
#   tests/run.sh gpu --prebuilt DIR     the same with the programs in DIR, built elsewhere
#   tests/run.sh pack DIR               build into build/cuda and collect in DIR what --prebuilt takes; needs no GPU
#   tests/run.sh sanitize               AddressSanitizer with UndefinedBehaviorSanitizer, then ThreadSanitizer
#   tests/run.sh fuzz [SECONDS]         every fuzz target for SECONDS (60), with fresh seeds; findings are kept in build/fuzz/findings
#   tests/run.sh package                build the Debian packages into build/package/packages and try them in a clean root and in containers; needs root
#   tests/run.sh release [COMMIT|TAG]   build that release too (the one of tests/compat/last_release) and run it together with this one
#   tests/run.sh record                 keep the contract of the commit that is checked out as the last release's
#   tests/run.sh lint                   format, shell scripts; clang's warnings and clang-tidy, of all sources but the tests'
#   tests/run.sh lint all               those of the tests, too, which take as long as all the rest
#   tests/run.sh lint COMMIT            all of it, of files changed since COMMIT
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/packages.sh
source deploy/packages.sh

readonly jobs=${NODECOMM_JOBS:-$(nproc)}
# One checkout's objects serve another's; and what ccache asks for where headers are precompiled.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros

usage() {
  sed -n '/^#   /s/^# //p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# build_preset PRESET [TARGET...]
build_preset() {
  cmake --preset "$1"
  cmake --build --preset "$1" -j "$jobs" ${2:+--target "${@:2}"}
}

run_dev() {
  install_packages deploy/packages.txt deploy/packages-checks.txt
  build_preset dev
  ctest --preset dev
}

require_gpus() {
  if ! nvidia-smi -L 2>/dev/null | grep -q '^GPU '; then
    echo "no GPU: nvidia-smi lists none. tests/run.sh without arguments runs what needs none." >&2
    exit 1
  fi
}

# The programs and the GPU tests, and no others: those run in the dev build.
build_cuda() {
  cmake --preset cuda
  gpu_tests >build/cuda/gpu_tests.txt
  # One target a test, of the same name.
  xargs cmake --build --preset cuda -j "$jobs" --target nodecommd nodecommctl nodecomm-perf chaos_worker \
    <build/cuda/gpu_tests.txt
}

gpu_tests() { ctest --test-dir build/cuda -L gpu -N | sed -n 's/^ *Test *#[0-9]*: //p'; }

run_gpu() {
  require_gpus
  export NODECOMM_REQUIRE_GPU=1
  if [[ -z ${1:-} ]]; then
    install_packages deploy/packages.txt
    build_cuda
    ctest --test-dir build/cuda -L gpu --no-tests=error --output-on-failure
    tests/e2e/gpu_checks.sh build/cuda/bin
    tests/chaos/gpu_deaths.sh build/cuda/bin build/cuda/tests/chaos_worker
    return
  fi
  [[ $1 == --prebuilt && -n ${2:-} ]] || usage
  local dir test failed=()
  dir=$(cd "$2" && pwd)
  # In front: the libraries that were packed are those that the programs were built with.
  export LD_LIBRARY_PATH="$dir/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export PATH="$dir/bin:$PATH"
  while read -r test; do
    echo "== $test"
    (cd "$dir/tests" && timeout 600 "./$test") || failed+=("$test")
  done <"$dir/gpu_tests.txt"
  tests/e2e/gpu_checks.sh "$dir/bin" || failed+=(gpu_checks.sh)
  tests/chaos/gpu_deaths.sh "$dir/bin" "$dir/tests/chaos_worker" || failed+=(gpu_deaths.sh)
  if ((${#failed[@]} > 0)); then
    echo "FAILED: ${failed[*]}" >&2
    exit 1
  fi
  echo "all GPU tests passed"
}

# Libraries that every host has in the version that its own C library fits.
is_system_library() {
  case "${1##*/}" in
    ld-linux* | libc.so.* | libm.so.* | libpthread.so.* | libdl.so.* | librt.so.*) return 0 ;;
    *) return 1 ;;
  esac
}

run_pack() {
  [[ -n ${1:-} ]] || usage
  install_packages deploy/packages.txt
  build_cuda
  local dir=$1 program test library
  mkdir -p "$dir"
  rm -rf "${dir:?}/bin" "${dir:?}/lib" "${dir:?}/tests"
  mkdir -p "$dir/bin" "$dir/lib" "$dir/tests"
  find build/cuda/bin -maxdepth 1 -type f -perm -u+x -exec cp -t "$dir/bin" {} +
  while read -r test; do cp "build/cuda/tests/$test" "$dir/tests"; done <build/cuda/gpu_tests.txt
  cp build/cuda/tests/chaos_worker "$dir/tests"
  cp -a build/cuda/lib/lib*.so* "$dir/lib"
  cp build/cuda/gpu_tests.txt "$dir"
  for program in "$dir"/bin/* "$dir"/tests/* "$dir"/lib/lib*.so; do
    [[ -f $program && -x $program ]] || continue
    ldd "$program" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p'
  done | sort -u | while read -r library; do
    is_system_library "$library" || [[ -e $dir/lib/${library##*/} ]] || cp -L "$library" "$dir/lib"
  done
  find "$dir/bin" "$dir/tests" "$dir/lib" -type f -exec strip --strip-unneeded {} +
  echo "packed $(du -sh "$dir" | cut -f1) into $dir; on the GPU host: tests/run.sh gpu --prebuilt DIR"
}

run_sanitize() {
  install_packages deploy/packages.txt deploy/packages-checks.txt
  build_preset asan
  ctest --preset asan
  build_preset tsan
  ctest --preset tsan
}

run_package() {
  install_packages deploy/packages.txt deploy/packages-checks.txt deploy/packages-root.txt
  build_preset package
  (cd build/package && rm -rf packages && cpack)
  timeout --kill-after=30 1200 tests/deploy/clean_root.sh build/package/packages
  timeout --kill-after=30 600 tests/deploy/image.sh build/package/packages
}

run_fuzz() {
  local seconds=${1:-60} seed target name found=() scratch options
  install_packages deploy/packages.txt deploy/packages-checks.txt
  build_preset fuzz
  scratch=$(mktemp -d)
  mkdir -p build/fuzz/findings
  for target in build/fuzz/tests/fuzz_*; do
    name=${target##*/fuzz_}
    seed=$RANDOM$RANDOM
    echo "== $name, seed $seed"
    mkdir -p "$scratch/$name"
    options=()
    # See tests/fuzz/README.md.
    if [[ $name == groups ]]; then options=(-entropic=0); fi
    # New inputs go to the first directory; the kept ones are read.
    "$target" -seed="$seed" -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=4096 -timeout=20 -verbosity=0 \
      -print_final_stats=1 "${options[@]}" -artifact_prefix="build/fuzz/findings/$name-" "$scratch/$name" "tests/fuzz/corpus/$name" ||
      found+=("$name")
  done
  rm -rf "$scratch"
  if ((${#found[@]} > 0)); then
    echo "FOUND something: ${found[*]}; the inputs are in build/fuzz/findings" >&2
    exit 1
  fi
}

run_release() {
  local name=${1:-$(sed -n 's/^release commit: //p' tests/compat/last_release)} commit tree
  local programs=(nodecommd nodecommctl nodecomm-perf chaos_worker)
  if ! commit=$(git rev-parse --verify --quiet "$name^{commit}"); then
    echo "$name is not in this checkout. If it is a shallow one: git fetch --unshallow --tags" >&2
    exit 1
  fi
  install_packages deploy/packages.txt deploy/packages-checks.txt
  tree=$PWD/build/releases/$commit
  # Of those that went with the build directory.
  git worktree prune
  [[ -e $tree ]] || git worktree add --detach "$tree" "$commit"
  build_preset dev "${programs[@]}"
  (
    cd "$tree"
    CCACHE_BASEDIR=$tree build_preset dev "${programs[@]}"
  )
  timeout --kill-after=30 900 tests/compat/releases.sh "$tree" "$PWD"
}

run_record() {
  if [[ -n $(git status --porcelain) ]]; then
    echo "commit first: what is kept is the contract of a commit" >&2
    exit 1
  fi
  install_packages deploy/packages.txt
  build_preset dev print_contract
  {
    echo "# What the last release promises to other versions; see README.md. Written by tests/run.sh record."
    echo "release commit: $(git rev-parse HEAD)"
    build/dev/tests/print_contract
  } >tests/compat/last_release.new
  mv tests/compat/last_release.new tests/compat/last_release
  git diff --stat -- tests/compat/last_release
}

# Files of ours that git knows, with one of the given patterns; only those changed since $since, if set.
our_files() {
  if [[ -n ${since:-} ]]; then
    git diff --name-only --diff-filter=d "$since" -- "$@"
  else
    git ls-files -- "$@"
  fi
}

# Durations and deadlines go by a clock that nobody sets (client/base/README.md): no timed wait of Abseil's or POSIX's, and wall
# time only where it is shown, kept or a seed.
check_clocks() {
  local timed='(Await|Wait|WaitForNotification|LockWhen)With(Timeout|Deadline)|(sem|pthread_[a-z]+)_timed[a-z]+|CLOCK_REALTIME'
  local wall='absl::Now\(\)|GetCurrentTimeNanos|system_clock|gettimeofday|\<time\((nullptr|NULL|0)\)'
  # What is shown to people, by its name.
  local shown='unix_time_ms\(absl::ToUnixMillis\(absl::Now\(\)\)\)'
  local means_it=(
    client/cli/admin_client.cc        # deadlines for gRPC, which makes steady time of them at once
    client/perf/report.cc             # the report's date
    client/session/control_client.cc  # as admin_client.cc
    daemon/group/group_registry.cc    # seed of generations
    daemon/main/log.cc                # the lines' time
    daemon/main/published_metrics.cc  # nodecomm_start_time_seconds
    daemon/service/rpc_server.cc      # as admin_client.cc
    daemon/session/session_table.h    # seed of the transfers' ids
  )
  local sources=('*.h' '*.hpp' '*.cc' '*.c' '*.cu' '*.cuh' ':!tests') found
  found=$(git grep -nE "$timed" -- "${sources[@]}" || true
    git grep -nE "$wall" -- "${sources[@]}" "${means_it[@]/#/:!}" | grep -vE "$shown" || true)
  [[ -z $found ]] && return
  echo "$found"
  echo "goes by the wall clock, which may be set: take SteadyNow() or SteadyCondVar, or add the file to check_clocks with why" >&2
  return 1
}

run_lint() {
  local since=${1:-} sources=('*.cc')
  if [[ $since == all ]]; then
    since=
  elif [[ -z $since ]]; then
    sources+=(':!tests')
  fi
  install_packages deploy/packages.txt deploy/packages-checks.txt
  echo "== clang-format"
  our_files '*.h' '*.hpp' '*.cc' '*.c' '*.cu' '*.cuh' | xargs -r clang-format --dry-run -Werror
  echo "== clocks"
  check_clocks
  echo "== shellcheck"
  our_files '*.sh' .ci/run deploy/debian/postinst deploy/debian/postrm deploy/debian/prerm | xargs -r shellcheck -x
  # clang-tidy also reports clang's own warnings, thread-safety analysis among them: nothing need be compiled besides. It needs the
  # generated headers, though.
  echo "== clang and clang-tidy"
  cmake --preset clang >/dev/null
  ninja -C build/clang -t targets all | sed -n 's/^\(.*\.pb\.h\): CUSTOM_COMMAND.*/\1/p' | xargs -r ninja -C build/clang
  # Only what the clang preset compiles: CUDA sources and their adapters are not in it.
  our_files "${sources[@]}" | while read -r file; do
    if grep -qF "\"$PWD/$file\"" build/clang/compile_commands.json; then echo "$file"; fi
  done | xargs -r -n 4 -P "$jobs" clang-tidy -p build/clang --quiet --warnings-as-errors='*'
}

case "${1:-dev}" in
  dev) run_dev ;;
  gpu) run_gpu "${@:2}" ;;
  pack) run_pack "${@:2}" ;;
  sanitize) run_sanitize ;;
  package) run_package ;;
  fuzz) run_fuzz "${@:2}" ;;
  release) run_release "${@:2}" ;;
  record) run_record ;;
  lint) run_lint "${@:2}" ;;
  *) usage ;;
esac
