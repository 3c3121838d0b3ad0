"""Reads a log of nodecommd as JSON, one object a line, and checks what it must have and must not have.

Usage: log_check.py LOG SESSIONS_DIR [PREFIX_PATTERN]. SESSIONS_DIR holds the records of open sessions, with their tokens.
"""

import json
import pathlib
import re
import sys

LEVELS = {"trace", "debug", "info", "warning", "error"}


def tokens(directory):
    """Of nodecomm.v1.SessionRecord: after the session's id, field 2, 32 raw bytes."""
    found = set()
    for path in pathlib.Path(directory).glob("*.session"):
        match = re.match(rb"\x08[\x80-\xff]*[\x00-\x7f]\x12\x20(.{32})", path.read_bytes(), re.S)
        if match:
            found.add(match.group(1))
    return found


def main():
    log, directory, prefix = sys.argv[1], sys.argv[2], (sys.argv[3:] + [""])[0]
    raw = pathlib.Path(log).read_bytes()
    secrets = tokens(directory)
    if len(secrets) < 2:
        sys.exit(f"no tokens to look for in {directory}")
    for secret in secrets:
        for form in (secret, secret.hex().encode(), secret.hex().upper().encode()):
            if form in raw:
                sys.exit("a token is in the log")
    events = []
    for line in raw.decode().splitlines():
        if line == "ready":
            continue
        match = re.fullmatch(f"({prefix})" + r"(\{.*\})", line)
        if not match:
            sys.exit(f"no line of JSON: {line}")
        event = json.loads(match.group(2))
        if event["level"] not in LEVELS or not event["message"] or not event["time"]:
            sys.exit(f"incomplete: {line}")
        events.append(event)

    def need(what, **fields):
        for event in events:
            if event["message"].startswith(what) and all(name in event for name in fields):
                return
        sys.exit(f"no event '{what}' with {', '.join(fields)}")

    need("session opened", session=1, uid=1, pid=1)
    need("group ready", group=1, group_name=1, uid=1)
    need("joined", session=1, group=1, rank=1, uid=1)
    need("group ended while ready (member_ended)", group=1, uid=1)
    need("session ended", session=1, uid=1)
    need("pool:", gpu=1)
    print(len(events))


if __name__ == "__main__":
    main()
