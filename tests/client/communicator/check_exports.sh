#!/bin/sh
# Fails if the library exports anything but what the ABI's list has (deploy/debian/libnodecomm/symbols), or less, under another
# soname: it must not clash with what else a process has loaded, and programs that were linked with it must go on working.
set -eu
library=$1
list=$2
exported=$(nm --dynamic --defined-only --format=posix "$library" | cut -d' ' -f1 | sed 's/@@/@/' | sort)
# "NAME@VERSION" of each line but the first; the version's own name is no symbol that nm lists with a type of code.
promised=$(sed -n 's/^ \(nodecomm_[^ ]*\) .*/\1/p' "$list" | sort)
exported=$(echo "$exported" | grep -v '^NODECOMM_[0-9]*\(@.*\)\?$' || true)
if [ "$exported" != "$promised" ]; then
  echo "$library exports other symbols than $list lists."
  echo "More is an addition: list it with the version that brings it. Less breaks programs: raise NODECOMM_ABI."
  echo "exported:" && echo "$exported" | c++filt
  echo "promised:" && echo "$promised"
  exit 1
fi >&2
soname=$(objdump -p "$library" | sed -n 's/^ *SONAME *//p')
if [ "$soname" != "$(sed -n '1s/ .*//p' "$list")" ]; then
  echo "$library has the soname $soname, but $list is of another" >&2
  exit 1
fi
