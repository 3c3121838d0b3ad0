#!/usr/bin/env bash
# Manual pages and completions as the build made them: complete, accepted by groff, bash and zsh, and they complete.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

share=$NODECOMM_BIN/../share
# Every long option and command that --help names is in the page.
check_page() { # PROGRAM SECTION
  local page=$share/man/man$2/$1.$2 word
  [[ -s $page ]] || fail "no $page"
  gzip -t "$page.gz" || fail "$page.gz"
  for word in $("$NODECOMM_BIN/$1" --help | grep -oE -- '--[a-z][a-z-]+' | sort -u); do
    grep -qF -- "${word//-/\\-}" "$page" || fail "$page lacks $word"
  done
  for section in NAME SYNOPSIS DESCRIPTION OPTIONS "EXIT STATUS" "SEE ALSO"; do
    grep -q "^\.SH $section" "$page" || fail "$page lacks $section"
  done
}
check_page nodecommctl 1
check_page nodecomm-perf 1
check_page nodecommd 8
for word in topo "p2p check" "config show" doctor top version sessions abort drain undrain; do
  grep -qx "\.SS $word" "$share/man/man1/nodecommctl.1" || fail "nodecommctl.1 lacks $word"
done
# Every field of the schema, with its comment.
page=$share/man/man5/nodecommd.textproto.5
for field in log_format pool.plane_bytes limits.groups_max peer_access.proof_timeout_ms metrics.textfile gpu_access.uid; do
  grep -q "^.fB$field.fR" "$page" || fail "$page lacks $field"
done
grep -q 'node_exporter' "$page" || fail "$page lacks the schema's comments"
! grep -q 'See above' "$page" || fail "$page: a field without words of its own"
if command -v groff >/dev/null; then
  for page in "$share"/man/man*/*.[158]; do
    problems=$(groff -man -ww -Tutf8 "$page" 2>&1 >/dev/null)
    [[ -z $problems ]] || fail "$page: $problems"
  done
fi

# complete PROGRAM WORD...: what bash offers for the last word.
complete_words() {
  bash -c 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "_${1//-/_}"; echo "${COMPREPLY[*]}"' \
    _ "$share/bash-completion/completions/$1" "$@"
}
expect_words() { # EXPECTED PROGRAM WORD...
  local words
  words=$(complete_words "${@:2}")
  [[ $words == "$1" ]] || fail "'${*:2}' completes to '$words', not '$1'"
}
expect_words "doctor" nodecommctl "do"
expect_words "show" nodecommctl --color never p2p s
expect_words "auto always never" nodecommctl status --color ""
expect_words "--force" nodecommctl p2p check --fo
expect_words "--runtime-dir" nodecommctl p2p check --run
expect_words "--check-config" nodecommd --check
expect_words "graph eager" nodecomm-perf --mode ""
# listed PROGRAM COMMAND...: the options and commands that its --help lists, a line each.
listed() {
  "$NODECOMM_BIN/$1" "${@:2}" --help | awk '/^[^ ]/ { section = $1 } section ~ /^(Options|Subcommands):$/ && /^  [^ ]/ { print $1 }' | tr ',' '\n'
}
# In every place exactly what --help lists there is offered, and the program's own options.
# check_offers OFFERS PROGRAM COMMAND...: OFFERS is complete_words or zsh_words.
check_offers() {
  local command expected offered
  expected=$({ listed "${@:2}"; listed "$2" | grep '^-'; } | sort -u)
  offered=$("$@" "" | tr ' ' '\n' | grep . | sort -u)
  [[ $offered == "$expected" ]] || fail "$1 ${*:2}: $(diff <(echo "$expected") <(echo "$offered"))"
  for command in $(listed "${@:2}" | grep -v '^-'); do check_offers "$@" "$command"; done
}
for program in nodecommctl nodecomm-perf nodecommd; do check_offers complete_words "$program"; done
mkdir "$work/place"
expect_words "$work/place" nodecommctl --runtime-dir "$work/pl"
for program in nodecommctl nodecomm-perf nodecommd; do
  grep -q "^#compdef $program\$" "$share/zsh/vendor-completions/_$program" || fail "no zsh completion of $program"
done
if command -v zsh >/dev/null; then
  # zsh_words PROGRAM WORD...: what the function would offer, with zsh's own helpers replaced by printers.
  zsh_words() {
    zsh -f -c 'file=$1; shift; words=("$@"); CURRENT=$#; _describe() { print -rl -- ${(P)@[-1]} }
      compadd() { shift; print -rl -- "$@" }; run() { source $file }; run' \
      _ "$share/zsh/vendor-completions/_$1" "$@" | sed 's/:.*//' | tr '\n' ' '
  }
  for program in nodecommctl nodecomm-perf nodecommd; do check_offers zsh_words "$program"; done
  [[ $(zsh_words nodecommctl status --color "") == "auto always never " ]] || fail "zsh: --color"
fi
