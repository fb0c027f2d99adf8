#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several workers a node: A has two, B first one and then two, each with streams of its own that the other takes.
Dataplanes are killed while entries come in, and streams move from worker to worker. At the end all of it is durable on
both sides and reads back, entry by entry; and what helioctl says of placement and lanes is what is."""
import os
import secrets
import sys

from cluster import Failed, Process, Scratch, wait_until
from flow import say
from regions import Region, Wan, program, write

STREAMS = {"a": ["a1", "a2", "a3", "a4"], "b": ["b1", "b2"]}
NUMBERS = {name: number for number, name in enumerate(sum(STREAMS.values(), []), 13)}
ENTRIES = 40000
MOVED_ENTRIES = 60000


class Node(Region):
    """A region with as many logs as workers. Streams go where a hash says, but the last of each region, which is asked
    into the last log."""

    def __init__(self, scratch, wan, name, number, key, workers):
        other = "b" if name == "a" else "a"
        self.number = number
        self.logs = []
        self.commands = (
            f"port add wan0 memif socket {wan.socket(name)} id 0 mac 02:00:00:00:00:0{name} "
            f"address 10.0.0.{number}/24\n"
            f"peer add {other} node {3 - number} region {3 - number} address 10.0.0.{3 - number} "
            f"mac 02:00:00:00:00:0{other} port wan0 key {key} rate 400m credit 8m\n")
        super().__init__(scratch, name, number, "", log=False)
        self.workers_set(workers)

    def workers_set(self, workers):
        other = "b" if self.name == "a" else "a"
        while len(self.logs) < workers:
            self.log = os.path.join(self.run, f"log-{len(self.logs)}")
            self.create_log("256m")
            self.logs.append(self.log)
        lines = [f"node set {self.name} id {self.number} region {self.number} cluster 7\n"]
        lines += [f"log add {i} path {path} memory 32m\n" for i, path in enumerate(self.logs)]
        lines.append(self.commands)
        for region, (origin, names) in enumerate(STREAMS.items(), 1):
            for name in names:
                place = f" worker {workers - 1}" if name == names[-1] and name not in self.placed() else ""
                lines.append(f"stream add {name} id {NUMBERS[name]} kind key-value region {region}{place}\n")
                if origin == self.name:
                    lines.append(f"stream replicate {name} {other}\n")
        write(self.config, "".join(lines))

    def placed(self):
        return {} if self.dataplane is None else self.places

    def start_dataplane(self):
        """A has an lcore for each worker, B one for all."""
        lcores = f"auto/{len(self.logs)}" if self.name == "a" else "auto"
        self.dataplane = Process(self.scratch, f"{self.name}-dataplane",
                                 [program("helio-dataplane"), "--run", self.run, "--lcores", lcores])

    def placement(self):
        """Stream -> worker, when all workers run."""
        shown = self.show()
        rows = shown["placement"] if shown else []
        if len(rows) != len(self.logs) or any(row["state"] != "running" for row in rows):
            return None
        self.places = {stream: row["worker"] for row in rows for stream in row["streams"]}
        return self.places

    def lanes_up(self):
        return {(lane["worker"], lane["worker_remote"]) for lane in (self.show() or {"lanes": []})["lanes"]
                if lane["state"] == "up"}


class Test:
    def __init__(self, scratch, example, reader, writer):
        self.scratch = scratch
        self.example = example
        self.reader = reader
        self.writer = writer
        self.wan = Wan(scratch, rtt_ms=20, loss_percent=0.5)
        with open(self.wan.config, encoding="utf-8") as before:
            text = before.read().replace("mac 02:00:00:00:00:0a", "mac 02:00:00:00:00:0a queues 2")
            text = text.replace("mac 02:00:00:00:00:0b", "mac 02:00:00:00:00:0b queues 2")
        write(self.wan.config, text)
        key = write(os.path.join(scratch.path, "link.key"), secrets.token_hex(32) + "\n", 0o600)
        self.nodes = {"a": Node(scratch, self.wan, "a", 1, key, 2), "b": Node(scratch, self.wan, "b", 2, key, 1)}
        self.ends = {name: 1 for name in NUMBERS}

    def produce(self):
        """A producer for each stream, all at once."""
        producers = []
        for origin, names in STREAMS.items():
            for name in names:
                self.ends[name] += ENTRIES
                producers.append(Process(self.scratch, f"producer-{name}",
                                         [self.example, self.nodes[origin].run, name, ENTRIES]))
        return producers

    def durable(self, node, name):
        return (self.nodes[node].stream(name) or {}).get("lsn_durable", 0)

    def everything_arrives(self):
        for name, end in self.ends.items():
            for node in self.nodes:
                wait_until(lambda: self.durable(node, name) == end, 90, f"{name} is durable in {node} up to {end}")

    def reads_back(self):
        readers = [Process(self.scratch, f"reader-{node.name}-{name}", [self.reader, node.run, name, end])
                   for node in self.nodes.values() for name, end in self.ends.items()]
        for process in readers:
            process.expect(0, 90)

    def lanes_are(self, node, wanted):
        wait_until(lambda: self.nodes[node].lanes_up() == wanted, 30,
                   f"{node} has the lanes {wanted}, not {self.nodes[node].lanes_up()}")

    def placed(self, node, places_before=None):
        places = wait_until(self.nodes[node].placement, 40, f"all workers of {node} run")
        if set(places) != set(NUMBERS):
            raise Failed(f"{node} has {places}, not each stream once")
        if places_before is not None and places != places_before:
            raise Failed(f"{node} had {places_before} and after a restart has {places}")
        return places

    def kills(self, *names):
        """While producers run; each of them goes on by itself."""
        before = dict(self.ends)
        producers = self.produce()
        for name in names:
            stream = STREAMS[name][0]
            wait_until(lambda: self.durable(name, stream) > before[stream] + ENTRIES // 20, 60,
                       f"entries come in at {name}")
            self.nodes[name].kill_dataplane()
        for name in names:
            self.nodes[name].start_dataplane()
        for process in producers:
            process.expect(0, 120)
        self.everything_arrives()

    def two_against_one(self):
        places = self.placed("a")
        if places["a4"] != 1 or set(places.values()) != {0, 1}:
            raise Failed(f"a4 was asked into log 1, and the others are on both: {places}")
        self.placed("b")
        self.kills()
        self.lanes_are("a", {(0, 0), (1, 0)})
        self.lanes_are("b", {(0, 0), (0, 1)})
        say("two workers against one")
        self.kills("a")
        self.kills("b")
        self.placed("a", places)
        say("each killed once")

    def two_against_two(self):
        """B gets another log: what it has stays where it is, and what is new goes to both."""
        before = self.placed("b")
        b = self.nodes["b"]
        for process in (b.controlplane, b.dataplane):
            process.terminate()
        os.unlink(os.path.join(b.run, "node.state"))
        b.workers_set(2)
        b.start()
        self.placed("b", before)
        self.kills("a", "b")
        self.lanes_are("b", {(0, 0), (0, 1), (1, 1)})
        self.lanes_are("a", {(0, 0), (1, 0), (1, 1)})
        say("two against two, both killed")

    def move(self, node, stream, worker):
        """Done by an answer; refused while somebody lags, so asked for again."""
        def moved():
            answer = self.nodes[node].ctl("stream", "move", stream, "worker", str(worker))
            if answer["code"] != 0 and "stays with worker" not in str(answer):
                raise Failed(f"{stream} of {node} to worker {worker}: {answer}")
            return answer["code"] == 0
        wait_until(moved, 60, f"{stream} of {node} moves to worker {worker}")
        wait_until(lambda: self.placed(node)[stream] == worker, 5, f"{node} shows {stream} at worker {worker}")

    def moves(self):
        """Under load, on the origin and where it is taken, there and back, with a kill right behind; somebody reads it
        on both sides all the while. A stream that somebody lacks something of stays."""
        a, b = self.nodes["a"], self.nodes["b"]
        self.ends["a1"] += MOVED_ENTRIES
        writer = Process(self.scratch, "writer-a1", [self.writer, a.run, "a1", MOVED_ENTRIES])
        readers = [Process(self.scratch, f"mover-{node.name}", [self.reader, node.run, "a1", self.ends["a1"]])
                   for node in (a, b)]
        for node in ("a", "b", "a", "b"):
            self.move(node, "a1", 1 - self.placed(node)["a1"])
        self.move("a", "a1", 1 - self.placed("a")["a1"])
        a.kill_dataplane()
        a.start_dataplane()
        self.placed("a", a.places)
        for process in (writer, *readers):
            process.expect(0, 120)
        self.everything_arrives()
        say("moved five times under load")
        here = a.places["a1"]
        for words, text in ((("nobody", "worker", "1"), "there is no stream"), (("a1", "worker", "2"), "no worker 2"),
                            (("a1", "worker", str(here)), "already"),
                            (("a1", "worker", str(1 - here), "dry-run"), "would move")):
            answer = a.ctl("stream", "move", *words)
            if text not in str(answer) or (answer["code"] == 0) != (text == "would move"):
                raise Failed(f"stream move {words}: {answer}")
        b.kill_dataplane()
        Process(self.scratch, "writer-lacking", [self.writer, a.run, "a1", 100]).expect(0, 30)
        self.ends["a1"] += 100
        answer = a.ctl("stream", "move", "a1", "worker", str(1 - here))
        if answer["code"] == 0 or "peer b lacks some of it" not in str(answer):
            raise Failed(f"a stream that b lacks something of must stay: {answer}")
        Process(self.scratch, "writer-staying", [self.writer, a.run, "a1", 100]).expect(0, 30)
        self.ends["a1"] += 100
        b.start_dataplane()
        self.everything_arrives()
        self.move("a", "a1", 1 - here)
        say("it stays while somebody lacks it")

    def consumers(self):
        """Two of one name at different workers: which one is removed has to be said."""
        a = self.nodes["a"]
        other = next(name for name, worker in a.places.items() if worker != a.places["a1"])
        for stream in ("a1", other):
            Process(self.scratch, f"consumer-{stream}",
                    [self.reader, a.run, stream, self.ends[stream], "twice"]).expect(0, 60)

        def there():
            return sorted(row["stream"] for row in a.show()["consumers"] if row["name"] == "twice")

        for words, text, left in ((("twice",), "several streams have a consumer", 2),
                                  (("twice", "stream", "nowhere"), "there is no consumer", 2),
                                  (("twice", "stream", "a1", "dry-run"), "would remove consumer twice of stream a1", 2),
                                  (("twice", "stream", "a1"), "consumer twice of stream a1 removed", 1),
                                  (("twice",), f"consumer twice of stream {other} removed", 0)):
            wait_until(lambda: len(there()) == left + ("removed" in text), 10, f"consumers before {words}: {there()}")
            answer = a.ctl("consumer", "remove", *words)
            if text not in str(answer):
                raise Failed(f"consumer remove {words}: {answer}")
            wait_until(lambda: len(there()) == left, 10, f"consumers after {words}: {there()}")
            if left == 1 and there() != [other]:
                raise Failed(f"the consumer of {other} must stay: {there()}")
        say("one of two consumers of a name")

    def refusals(self):
        """Where a stream is, is in its log: the configuration can't move it. Logs have no gaps."""
        a = self.nodes["a"]
        text = open(a.config, encoding="utf-8").read()
        write(a.config, text.replace("log add 1 ", "log add 2 "))
        a.controlplane.terminate()
        a.start_controlplane()
        a.controlplane.wait_line("numbered from 0 without a gap", 20)
        other = 1 - a.places["a2"]
        write(a.config, text.replace("stream add a2 id 14 kind key-value region 1",
                                     f"stream add a2 id 14 kind key-value region 1 worker {other}"))
        a.controlplane.terminate()
        a.start_controlplane()
        a.controlplane.wait_line("where its batches are: move it with `helioctl stream move`", 20)
        self.placed("a", a.places)
        write(a.config, text)
        a.controlplane.terminate()
        a.start_controlplane()

    def run(self):
        self.wan.start()
        for node in self.nodes.values():
            node.start()
        self.nodes["a"].wait_up("b", 40)
        self.two_against_one()
        self.reads_back()
        self.two_against_two()
        self.reads_back()
        self.consumers()
        self.moves()
        self.refusals()
        for node in self.nodes.values():
            if node.dataplane.terminate() != 0:
                raise Failed(f"{node.name}: an orderly end is exit code 0, not {node.dataplane.child.returncode}")


def main():
    with Scratch("helio-two-workers-") as scratch:
        Test(scratch, *(os.path.abspath(path) for path in sys.argv[1:4])).run()
        say("ok")


if __name__ == "__main__":
    main()
