#!/usr/bin/env python3
"""Kills one worker of a group again and again, and measures how long after the kill each survivor has its error in hand,
kernels left and all. The survivors stay; the victim is replaced, and the group forms anew.

The kills take turns: while the group reduces, while the victim waits for others to join, while the others wait for it to map, and while
it leaves, and while it reduces again after its daemon was killed. Others, or the daemon, are stopped meanwhile, so that each kill
falls where it is meant to.
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


GROUP = "deaths"


class Deaths:
    def __init__(self, options, work_dir):
        self.options = options
        self.random = random.Random(options.seed)
        self.daemon = Daemon(options.bin, work_dir, options.topology, CONFIG)
        self.workers = []
        # By phase.
        self.times_ms = {}
        self.kills = {}
        self.forming_ms = []

    def start_worker(self, rank):
        options = []
        if self.options.topology:
            options.append("--simulated")
        if self.options.graph:
            options.append("--graph")
        # All alike, since any may be the victim.
        options += ["--host-mib", str(self.options.host_mib), "--device-mib", str(self.options.device_mib)]
        return Worker(self.options.worker, GROUP, rank, self.options.ranks, rank % self.options.gpus,
                      self.daemon.runtime_dir, options)

    def others(self, victim):
        return [worker for worker in self.workers if worker is not victim]

    def expect_errors(self, phase, victim, rank, since_ns, pattern):
        """Each survivor says so, soon."""
        for survivor in self.others(victim):
            moment, text = survivor.wait_for(r"^(error|not-formed) ", after_ns=since_ns)
            if not re.search(pattern, text):
                raise Failure(f"the error of {survivor.name} does not name rank {rank}, process {victim.pid}: {text}")
            self.times_ms.setdefault(phase, []).append((moment - since_ns) / 1e6)

    def death_of(self, rank, victim):
        return rf"NODECOMM_ABORTED: .*rank {rank} \(process {victim.pid}\): process {victim.pid} has (died|ended)"

    def expect_calls(self):
        for worker in self.workers:
            worker.wait_for(r"^calls ", times=worker.count(r"^calls ") + 2)

    def reducing(self, rank, victim):
        self.expect_calls()
        time.sleep(self.random.uniform(0, 0.01))
        self.expect_errors("reducing", victim, rank, victim.kill(), self.death_of(rank, victim))

    def let_only_the_victim_join(self, victim):
        for worker in self.others(victim):
            worker.pause()
        self.daemon.ctl("abort", GROUP)
        self.daemon.wait_for_group(lambda group: self.waits_for_others(group, victim), "joined by the victim alone")

    @staticmethod
    def waits_for_others(group, victim):
        pids = [member["pid"] for member in group.get("members", [])]
        return group["state"] == "GROUP_STATE_GATHERING" and pids == [victim.pid]

    def joining(self, rank, victim):
        """Its place is free again: the group forms with another in it."""
        self.let_only_the_victim_join(victim)
        victim.kill()
        for worker in self.others(victim):
            worker.go_on()

    def mapping(self, rank, victim):
        self.let_only_the_victim_join(victim)
        victim.pause()
        for worker in self.others(victim):
            worker.go_on()
        self.daemon.wait_for_group(lambda group: group["state"] == "GROUP_STATE_MAPPING"
                                   and group.get("missing_ranks") == [rank], "mapped by all but the victim")
        self.expect_errors("mapping", victim, rank, victim.kill(), self.death_of(rank, victim))

    def leaving(self, rank, victim):
        """Dead or left: the daemon may hear of either first. Who hears of it leaves, too."""
        victim.wait_for(r"^ready ")
        self.daemon.pause()
        victim.stop()
        victim.wait_for(r"^leaving")
        time.sleep(self.random.uniform(0, 0.02))
        victim.kill()
        if victim.count(r"^left "):
            raise Failure(f"{victim.name} left without the daemon: {victim.lines()[-3:]}")
        since_ns = self.daemon.go_on()
        self.expect_errors("leaving", victim, rank, since_ns, rf"{self.death_of(rank, victim)}|rank \d+ has left")

    def restarted(self, rank, victim):
        """It goes on without a daemon, and without what makes the daemon's memory; the next one hears of deaths as the last did."""
        had_allocator = self.daemon.kill_allocator()
        if not had_allocator and not self.options.topology:
            raise Failure("the daemon has no allocator")
        self.expect_calls()
        self.daemon.kill()
        self.expect_calls()
        opened = self.daemon.log().count("session opened")
        self.daemon.start()
        self.daemon.wait_for_log("session opened", opened + self.options.ranks)
        self.expect_calls()
        self.expect_errors("restarted", victim, rank, victim.kill(), self.death_of(rank, victim))

    def round(self, number):
        phase = (self.reducing, self.joining, self.mapping, self.leaving, self.restarted)[number % 5]
        rank = self.random.randrange(self.options.ranks)
        victim = self.workers[rank]
        phase(rank, victim)
        self.kills[phase.__name__] = self.kills.get(phase.__name__, 0) + 1
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
            formed_ns = 0
            for rank, worker in enumerate(self.workers):
                is_new = worker.count(r"^(error|not-formed) ") == 0
                ready_ns, _ = worker.wait_for(r"^ready ", times=1 if is_new else before[rank] + 1, timeout_s=120)
                formed_ns = max(formed_ns, ready_ns)
            # The last to come is whoever was started anew, and may have to start CUDA.
            joined_ns = max(ns for worker in self.workers for ns, text in worker.lines() if text == "joining" and ns < formed_ns)
            self.forming_ms.append((formed_ns - joined_ns) / 1e6)
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
        if not self.times_ms:
            raise Failure("no survivor was in a group")
        phases = ", ".join(f"{count} while {phase}" for phase, count in self.kills.items())
        print(f"{self.options.rounds} deaths ({phases}); seed {self.options.seed}")
        self.forming_ms.sort()
        print(f"  formed anew, once the last had come, after median {self.forming_ms[len(self.forming_ms) // 2]:.1f}, "
              f"max {self.forming_ms[-1]:.1f} ms")
        late = []
        if self.forming_ms[-1] > self.options.forming_ms:
            late.append(f"{self.forming_ms[-1]:.1f} ms is more than {self.options.forming_ms} ms to form anew")
        for phase, times in self.times_ms.items():
            times.sort()
            print(f"  {phase}: {len(times)} survivors with an error after median {times[len(times) // 2]:.2f}, "
                  f"99 % {times[int(len(times) * 0.99)]:.2f}, max {times[-1]:.2f} ms")
            bound_ms = self.options.bound_ms
            if phase == "mapping":
                bound_ms += self.options.unmap_ms * self.options.ranks
            if times[-1] > bound_ms:
                late.append(f"{times[-1]:.2f} ms is more than {bound_ms} ms while {phase}")
        if late:
            raise Failure("; ".join(late))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="directory of the programs")
    parser.add_argument("--worker", required=True, help="tests/chaos/chaos_worker, built")
    parser.add_argument("--topology", help="a host to simulate; otherwise this one's GPUs")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--gpus", type=int, default=4, help="GPUs to spread the ranks over")
    parser.add_argument("--graph", action="store_true", help="replay graphs instead of single calls")
    parser.add_argument("--host-mib", type=int, default=0, help="memory that each worker holds")
    parser.add_argument("--device-mib", type=int, default=0, help="likewise on its GPU")
    parser.add_argument("--bound-ms", type=float, default=50.0)
    parser.add_argument("--unmap-ms", type=float, default=0.0,
                        help="what giving back the mapping of one rank's memory may take on top: who maps has its error "
                        "in hand when that is done, and waits in no kernel")
    parser.add_argument("--forming-ms", type=float, default=2000.0, help="what forming anew may take, once all have come")
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
