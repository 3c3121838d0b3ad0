#!/bin/sh
# Fails if the library exports a symbol that is not part of the C API: it must not clash with what
# else a process has loaded.
set -eu
exported=$(nm --dynamic --defined-only --format=posix "$1" | cut -d' ' -f1)
if [ -z "$exported" ]; then
  echo "$1 exports nothing" >&2
  exit 1
fi
foreign=$(echo "$exported" | grep -v '^nodecomm_' || true)
if [ -n "$foreign" ]; then
  echo "$1 exports more than the C API:" >&2
  echo "$foreign" | c++filt >&2
  exit 1
fi
