#!/usr/bin/env python3
"""Kills one worker of a group again and again, and measures how long after the kill each survivor has its error in hand,
kernels left and all. The survivors stay; the victim is replaced, and the group forms anew.

Half of the kills fall on a group that reduces, the others anywhere: while joining, mapping, or between two calls.
"""

import argparse
import random
import re
import sys
import tempfile
import time

from host import Daemon, Failure, Worker

CONFIG = """
group { allow_gpu_sharing: true }
limits { connections_per_uid_per_second: 100000 calls_per_uid_per_second: 100000 }
"""


class Deaths:
    def __init__(self, options, work_dir):
        self.options = options
        self.random = random.Random(options.seed)
        self.daemon = Daemon(options.bin, work_dir, options.topology, CONFIG)
        self.workers = []
        self.times_ms = []
        self.rounds_without_group = 0

    def start_worker(self, rank):
        options = []
        if self.options.topology:
            options.append("--simulated")
        if self.options.graph:
            options.append("--graph")
        # All alike, since any may be the victim.
        options += ["--host-mib", str(self.options.host_mib), "--device-mib", str(self.options.device_mib)]
        return Worker(self.options.worker, "deaths", rank, self.options.ranks, rank % self.options.gpus,
                      self.daemon.runtime_dir, options)

    def round(self, number):
        anywhere = number % 2 == 1
        if anywhere:
            time.sleep(self.random.uniform(0, 0.5))
        else:
            calls = self.workers[0].count(r"^calls ")
            self.workers[0].wait_for(r"^calls ", times=calls + 1)
            time.sleep(self.random.uniform(0, 0.01))
        rank = self.random.randrange(self.options.ranks)
        victim = self.workers[rank]
        killed_at = victim.kill()
        # A group that was ready ends for its survivors with an error that says who died.
        for survivor in self.workers:
            if survivor is victim:
                continue
            moment, text = survivor.wait_for(r"^(error|not-formed) ", after_ns=killed_at)
            if text.startswith("not-formed"):
                self.rounds_without_group += 1
                continue
            if not re.search(rf"NODECOMM_ABORTED: .*rank {rank} \(process {victim.pid}\): process {victim.pid} has (died|ended)", text):
                raise Failure(f"the error of {survivor.name} does not name rank {rank}, process {victim.pid}: {text}")
            self.times_ms.append((moment - killed_at) / 1e6)
        self.workers[rank] = self.start_worker(rank)
        victim.reap()

    def run(self):
        self.daemon.start()
        self.workers = [self.start_worker(rank) for rank in range(self.options.ranks)]
        for worker in self.workers:
            worker.wait_for(r"^ready ", timeout_s=120)
        for number in range(self.options.rounds):
            before = [worker.count(r"^ready ") for worker in self.workers]
            self.round(number)
            # The new generation, before the next round.
            for rank, worker in enumerate(self.workers):
                is_new = worker.count(r"^(error|not-formed) ") == 0
                worker.wait_for(r"^ready ", times=1 if is_new else before[rank] + 1, timeout_s=120)
        for worker in self.workers:
            worker.stop()
        for worker in self.workers:
            worker.reap()
            if worker.process.returncode != 0:
                raise Failure(f"{worker.name} ended with {worker.process.returncode}: {worker.lines()[-5:]}")
        self.daemon.check_nothing_is_held()
        self.daemon.terminate()
        self.report()

    def report(self):
        times = sorted(self.times_ms)
        if not times:
            raise Failure("no survivor was in a group")
        print(f"{self.options.rounds} deaths, {len(times)} survivors with an error after "
              f"median {times[len(times) // 2]:.2f}, 99 % {times[int(len(times) * 0.99)]:.2f}, max {times[-1]:.2f} ms; "
              f"{self.rounds_without_group} were not in a group yet; seed {self.options.seed}")
        if times[-1] > self.options.bound_ms:
            raise Failure(f"{times[-1]:.2f} ms is more than {self.options.bound_ms} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="directory of the programs")
    parser.add_argument("--worker", required=True, help="tests/chaos/chaos_worker, built")
    parser.add_argument("--topology", help="a host to simulate; otherwise this one's GPUs")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--gpus", type=int, default=4, help="GPUs to spread the ranks over")
    parser.add_argument("--graph", action="store_true", help="replay graphs instead of single calls")
    parser.add_argument("--host-mib", type=int, default=0, help="memory that each worker holds")
    parser.add_argument("--device-mib", type=int, default=0, help="likewise on its GPU")
    parser.add_argument("--bound-ms", type=float, default=50.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nodecomm-deaths.", dir="/tmp") as work_dir:
        deaths = Deaths(options, work_dir)
        try:
            deaths.run()
        except Failure as failure:
            print("the daemon's log ends:", *deaths.daemon.log().splitlines()[-40:], sep="\n  ")
            print(f"FAILED with seed {options.seed}: {failure}", file=sys.stderr)
            return 1
        finally:
            for worker in deaths.workers:
                worker.process.kill()
            if deaths.daemon.process:
                deaths.daemon.process.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
