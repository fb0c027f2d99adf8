#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9, again and again: two regions, a stream from each to the other, and any of the four processes die, alone or
together, at moments that chance chooses and at marked calls (kill_shim.c), under load. After each: what was
acknowledged is there, acknowledgements and reading go on at both ends, in order, nothing missing, nothing twice.

    kill_loop.py LIFE_WRITER LIFE_READER KILL_SHIM URING_SHIM [--cycles N | --seconds N]

A writer begins a life whenever its dataplane was gone, and its entries say which (life_entry.h): at the end the readers
of both regions have the same lives, entry by entry, as the writer. First the loop shows that it can fail: over a disk
that acknowledges writes and does not do them, the first kill turns it red."""
import argparse
import collections
import os
import secrets
import time

from cluster import Failed, Process, Scratch, wait_until
from flow import say, seeded
from lives import Lives
from regions import Region, Wan, write

STREAMS = {"from-a": ("a", 11), "from-b": ("b", 12)}
PROGRAMS = ("dataplane", "controlplane")
# Generous: a machine with other work gives these processes a tenth of a core at times. What it took is said at the end.
GOES_ON_SECONDS_MAX = 90
MARK_SECONDS = {"dataplane": 1.0, "controlplane": 0.3}  # one that a program does not come to, it is not waited for
MARK_ENTRIES = 30000  # nor when so many were acknowledged
AUDIT_CYCLES = 10
AUDITS_MAX = 5
DISK_LIES = "write:50+:lost,ring:1+:lost,superblock:1+:lost"
# Calls to die at, how often each is chosen, and the largest number of it that is.
MARKS = {
    "dataplane": {"submit": (6, 300), "write": (2, 100), "sendmsg": (2, 20), "recvmsg": (2, 20), "rename": (1, 2),
                  "fsync": (1, 1)},
    "controlplane": {"sendmsg": (1, 2), "recvmsg": (2, 3), "write": (2, 10)},
}


class Node(Region):
    """A region that is the origin of one stream and takes the other."""

    def __init__(self, scratch, wan, name, number, key, shims):
        super().__init__(scratch, name, number, "", log=False)
        other = "b" if name == "a" else "a"
        lines = [f"node set {name} id {number} region {number} cluster 7\n",
                 f"log add 0 path {self.log} memory 32m\n",
                 f"port add wan0 memif socket {wan.socket(name)} id 0 mac 02:00:00:00:00:0{name} "
                 f"address 10.0.0.{number}/24\n",
                 f"peer add {other} node {3 - number} region {3 - number} address 10.0.0.{3 - number} "
                 f"mac 02:00:00:00:00:0{other} port wan0 key {key} rate 400m credit 8m\n"]
        for stream, (origin, identity) in STREAMS.items():
            lines.append(f"stream add {stream} id {identity} kind key-value region {1 if origin == 'a' else 2}\n")
            if origin == name:
                lines.append(f"stream replicate {stream} {other}\n")
            lines.append(f"consumer add reads-{stream} stream {stream}\n")
        write(self.config, "".join(lines))
        self.create_log("64m")
        self.shims = shims

    def start_program(self, which, env=None):
        if which == "dataplane":
            self.start_dataplane("--mem", "64", env=env)
        else:
            self.start_controlplane(env)

    def start_marked(self, which, mark, number, side):
        self.start_program(which, {"LD_PRELOAD": self.shims["kill"], "HELIO_KILL": f"{mark}:{number}:{side}"})


class Test:
    def __init__(self, scratch, random, arguments):
        self.scratch = scratch
        self.random = random
        self.arguments = arguments
        self.wan = Wan(scratch, rtt_ms=2, loss_percent=0.1)
        key = write(os.path.join(scratch.path, "link.key"), secrets.token_hex(32) + "\n", 0o600)
        shims = {"kill": arguments.kill_shim, "uring": arguments.uring_shim}
        self.nodes = {name: Node(scratch, self.wan, name, number, key, shims) for name, number in (("a", 1), ("b", 2))}
        self.lives = []
        self.kills = collections.Counter()
        self.longest = collections.Counter()

    def begin(self):
        self.wan.start()
        for node in self.nodes.values():
            for which in PROGRAMS:
                node.start_program(which)
        programs = (self.arguments.life_writer, self.arguments.life_reader)
        self.lives = [Lives(self.scratch, programs, stream, self.nodes[origin], list(self.nodes.values()))
                      for stream, (origin, _) in STREAMS.items()]
        self.goes_on(time.monotonic(), "begin")

    # ---- what must be true --------------------------------------------------------------------------------------

    def goes_on(self, since, what):
        """Both streams: more is acknowledged than was, and the readers of both regions have it."""
        waiting = {}
        for one in self.lives:
            goal = one.writer.position() + 1
            waiting["acknowledged", one.stream] = (one.writer, goal)
            for node, reader in one.readers.items():
                waiting[f"arrived in {node}", one.stream] = (reader, goal)

        def look():
            elapsed = time.monotonic() - since
            for name, (follower, goal) in list(waiting.items()):
                if follower.position() >= goal:
                    del waiting[name]
                    kind = name[0].split()[0]
                    self.longest[kind] = max(self.longest[kind], elapsed) if what != "begin" else 0
                elif elapsed > GOES_ON_SECONDS_MAX:
                    raise Failed(f"{what}: {elapsed:.1f} s later nothing more of {name[1]} is {name[0]}: it stands at "
                                 f"{follower.position()}, {goal} was wanted")
            return not waiting

        wait_until(look, GOES_ON_SECONDS_MAX + 5, f"{what}: streams go on")

    def audit(self):
        """All that a log keeps, read anew. A log as small as these forgets, under load, what a slow reader without a
        name comes to next: that and nothing else is reason to begin again."""
        one = self.random.choice(self.lives)
        node = self.nodes[self.random.choice("ab")]
        for _ in range(AUDITS_MAX):
            process = one.audit(node, one.readers[node.name].position())
            if process.wait(GOES_ON_SECONDS_MAX) == 0:
                return
            gap = process.find(r"^read of (\d+): gap: ")
            oldest = (node.stream(one.stream) or {}).get("lsn_oldest", 0)
            if gap is None or int(gap.group(1)) >= oldest:
                raise Failed(f"{process.name}, of a log that keeps {one.stream} from {oldest} on: "
                             + " | ".join(process.lines[-3:]))
        raise Failed(f"{AUDITS_MAX} audits of {one.stream} in {node.name} were overtaken by its retention")

    def nothing_else_ended(self):
        for node in self.nodes.values():
            for which in PROGRAMS:
                process = getattr(node, which)
                if not process.alive():
                    raise Failed(f"{process.name} ended by itself: {process.child.returncode}, "
                                 + " | ".join(process.lines[-3:]))

    # ---- kills --------------------------------------------------------------------------------------------------

    def choose(self):
        """[(node, program)], in the order they die."""
        sides = self.random.choices((["a"], ["b"], ["a", "b"]), (4, 4, 2))[0]
        programs = self.random.choices((["dataplane"], ["controlplane"], list(PROGRAMS)), (6, 2, 2))[0]
        victims = [(self.nodes[side], which) for side in sides for which in programs]
        self.random.shuffle(victims)
        return victims

    def random_moment(self):
        """So many entries more of either stream, nothing at all sometimes."""
        writer = self.random.choice(self.lives).writer
        goal = writer.position() + int(self.random.choice((0, 1, 10)) * self.random.random() * 300)
        wait_until(lambda: writer.position() >= goal, GOES_ON_SECONDS_MAX, "entries come in")

    def dies_at_mark(self, node, which):
        """Started, it dies by itself at a marked call; by hand when it does not come to it."""
        marks = MARKS[which]
        mark = self.random.choices(list(marks), [weight for weight, _ in marks.values()])[0]
        number = int(marks[mark][1] ** self.random.random())
        node.start_marked(which, mark, number, self.random.choice(("before", "after")))
        process = getattr(node, which)
        deadline = time.monotonic() + MARK_SECONDS[which]
        goals = [(one.writer, one.writer.position() + MARK_ENTRIES) for one in self.lives if one.origin is node]

        def look():
            return not process.alive() or time.monotonic() > deadline or \
                which == "dataplane" and any(writer.position() > goal for writer, goal in goals)

        wait_until(look, GOES_ON_SECONDS_MAX, "the mark")
        name = f"{which} at {mark}"
        if process.alive():
            process.kill9()
            name = f"{which} after its start"
        elif process.child.returncode != -9:
            raise Failed(f"{process.name} did not die at {mark} {number}: exit {process.child.returncode}, "
                         + " | ".join(process.lines[-3:]))
        self.kills[name] += 1

    def cycle(self):
        victims = self.choose()
        self.random_moment()
        killed = time.monotonic()
        for node, which in victims:
            getattr(node, f"kill_{which}")()
            self.kills[f"{which} any time"] += 1
        if all(which == "controlplane" for _, which in victims) and self.random.random() < 0.5:
            self.goes_on(killed, "without a control plane")
        self.random.shuffle(victims)
        for node, which in victims:
            if self.random.random() < 0.5:
                self.dies_at_mark(node, which)
                killed = time.monotonic()
            node.start_program(which)
        what = "killed " + ", ".join(f"{which} of {node.name}" for node, which in victims)
        self.goes_on(killed, what)
        for node, which in victims:
            if which == "controlplane":
                node.wait_ready(GOES_ON_SECONDS_MAX)
        self.nothing_else_ended()

    # ---- the whole ----------------------------------------------------------------------------------------------

    def finish(self):
        """Everything arrives, with the same lives everywhere."""
        for one in self.lives:
            one.stop(GOES_ON_SECONDS_MAX)
        for one in self.lives:
            entries, lives = one.finish(GOES_ON_SECONDS_MAX)
            say(f"{one.stream}: {entries} entries of {lives} lives, the same in both regions")
        for node in self.nodes.values():
            for which in PROGRAMS:
                if getattr(node, which).terminate(GOES_ON_SECONDS_MAX) != 0:
                    raise Failed(f"{which} of {node.name}: an orderly end is exit code 0")

    def run(self):
        self.begin()
        began, cycles = time.monotonic(), 0
        while cycles < self.arguments.cycles if self.arguments.cycles else \
                time.monotonic() - began < self.arguments.seconds:
            self.cycle()
            cycles += 1
            if cycles % AUDIT_CYCLES == 0:
                self.audit()
            if cycles % 50 == 0:
                say(f"{cycles} cycles")
        seconds = time.monotonic() - began
        self.finish()
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items()))
        say(f"{cycles} cycles in {seconds:.0f} s, {sum(self.kills.values())} kills ({kinds}); acknowledged again after "
            f"{self.longest['acknowledged']:.2f} s, read in both regions after {self.longest['arrived']:.2f} s at most")

    def disk_lies(self):
        """The loop is red when a log's device acknowledges what it does not do. All kinds of block, or recovery would
        find out by those that are there and refuse the log (disk_faults.py, lost_writes)."""
        node = self.nodes["a"]
        self.wan.start()
        for one in self.nodes.values():
            one.start_program("controlplane")
        node.start_program("dataplane", {"LD_PRELOAD": self.arguments.uring_shim, "HELIO_URING": DISK_LIES})
        writer = Process(self.scratch, "writer", [self.arguments.life_writer, node.run, "from-a"])
        node.dataplane.wait_line("uring_shim: write 90: lost", GOES_ON_SECONDS_MAX)
        node.kill_dataplane()
        node.start_program("dataplane")
        writer.expect(1, GOES_ON_SECONDS_MAX)
        lost = writer.find("^LOST: .*")
        if lost is None:
            raise Failed("writes that were not done were not missed: " + " | ".join(writer.lines[-3:]))
        say(f"a disk that lies turns it red: {lost.group(0)}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("life_writer", "life_reader", "kill_shim", "uring_shim"):
        parser.add_argument(name, type=os.path.abspath)
    parser.add_argument("--cycles", type=int)
    parser.add_argument("--seconds", type=int, default=30)
    arguments = parser.parse_args()
    random = seeded()
    with Scratch("helio-kill-") as scratch:
        Test(scratch, random, arguments).disk_lies()
    with Scratch("helio-kill-") as scratch:
        Test(scratch, random, arguments).run()
        say("ok")


if __name__ == "__main__":
    main()
