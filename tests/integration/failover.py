#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A region of three nodes, two of which commit, and a node of another region. The writer's node dies under load; the
two others are told to take the group over, at once. Nothing that was acknowledged is lost, the other region goes on
receiving, and the old writer, when it comes back, is a copy. All of them write under grants. A member that loses its
disk counts for nothing until it has everything again. A node that hears no other member takes nothing over."""
import os
import re
import secrets
import sys

from cluster import Failed, Process, Scratch, wait_until
from flow import say
from four_nodes import NODES, Net
from regions import Region, write

GROUP = "3"
MEMBERS = ("a", "b", "c")
STREAMS = {"orders": 1, "audit": 2}
# Of the new writer: with what the first one wrote in seconds, less than the logs hold. A disk that is lost in the end
# is filled from the beginning.
ENTRIES = 15000
# Of main() alone: other tests of this region kill the control planes that renew them. Long enough for a busy machine: a
# producer that is refused for want of one ends the test.
GRANTS = "grant 5000\n"


def region_of(name):
    return 1 if name in MEMBERS else 2


def commands(net, key, own, store, grants):
    lines = ["quorum set n 3 w 2\n", grants] if own in MEMBERS else []
    lines.append(f"metastore file {store}\n")
    lines.append(f"port add wan0 memif socket {net.socket(own)} id 0 mac 02:00:00:00:00:0{own} "
                 f"address 10.0.0.{NODES[own]}/24\n")
    lines += [f"peer add {name} node {number} region {region_of(name)} address 10.0.0.{number} "
              f"mac 02:00:00:00:00:0{name} port wan0 key {key} rate 200m credit 8m\n"
              for name, number in NODES.items() if name != own]
    for stream, number in STREAMS.items():
        lines.append(f"stream add {stream} id {number} kind key-value region 1 node 1 group {GROUP}\n")
        if own in MEMBERS:
            others = " ".join(name for name in NODES if name != own)
            lines.append(f"stream replicate {stream} {others}\n")
    return "".join(lines)


class Test:
    def __init__(self, scratch, writer, reader, grants=""):
        self.scratch, self.writer, self.reader = scratch, writer, reader
        self.net = Net(scratch, region_of)
        key = write(os.path.join(scratch.path, "link.key"), secrets.token_hex(32) + "\n", 0o600)
        store = os.path.join(scratch.path, "metastore")
        self.nodes = {name: Region(scratch, name, number, commands(self.net, key, name, store, grants),
                                   log_size="128m", region=region_of(name)) for name, number in NODES.items()}
        self.a, self.b, self.c, self.d = (self.nodes[name] for name in "abcd")

    def row(self, node, stream="orders"):
        return node.stream(stream) or {}

    def group(self, node):
        shown = node.show() or {"groups": []}
        return next((row for row in shown["groups"] if row["group"] == int(GROUP)), {})

    def write(self, node, stream, life, *entries):
        return Process(self.scratch, f"writer-{node.name}-{stream}", [self.writer, node.run, stream, "committed",
                                                                      str(life), *map(str, entries)])

    def acknowledged(self, writer):
        found = re.findall(r"^acknowledged (\d+)", "\n".join(writer.lines), re.M)
        return int(found[-1]) if found else 0

    def order(self, node, code, says="", *words):
        answer = node.ctl("group", "fail-over", GROUP, *words)
        if answer["code"] != code or says not in answer.get("error", "") + answer.get("data", {}).get("message", ""):
            raise Failed(f"{node.name}: group fail-over: {answer}, wanted {code} {says}")

    def hears_enough(self, node):
        wait_until(lambda: node.ctl("group", "fail-over", GROUP, "dry-run")["code"] == 0, 40,
                   f"enough members are up at {node.name}")

    def take_over(self, node):
        self.hears_enough(node)
        self.order(node, 0, "is being failed over")

    # ---- what is shown ------------------------------------------------------------------------------------------

    def cut_off(self):
        """b hears no other member: an order there takes no epoch, and the writer is not disturbed."""
        for other in ("a", "c"):
            self.b.wait_up(other, 40)
            self.net.cut("b", other)
        for other in ("a", "c"):
            wait_until(lambda name=other: self.b.peer(name)["state"] == "down", 20, f"{other} is down at b")
        for words in ((), ("dry-run",)):
            self.order(self.b, 1, "1 of 3 members are up from here, 2 must answer, and not up are a, c", *words)
        self.order(self.b, 0, "start more of them first", "force", "dry-run")
        self.under_load()
        if self.group(self.b).get("epoch_promised") != 0 or self.group(self.b).get("step") != "idle":
            raise Failed(f"a node that hears nobody promised: {self.group(self.b)}")
        for other in ("a", "c"):
            self.net.restore("b", other)
        say("a node that hears no other member is told so and takes nothing over; the writer goes on")

    def under_load(self):
        self.first = [self.write(self.a, stream, 1) for stream in STREAMS]
        for stream in STREAMS:
            wait_until(lambda name=stream: self.row(self.d, name).get("lsn_durable", 0) > 2000, 40,
                       f"{stream} arrives in the other region")
        say("three nodes of a region take what one writes; it arrives in the other region")

    def refused(self):
        self.order(self.d, 1, "region 1")
        self.hears_enough(self.b)
        self.order(self.b, 0, "would make node 2 the writer", "dry-run")
        if self.group(self.b).get("epoch_promised") != 0:
            raise Failed(f"a dry run promises: {self.group(self.b)}")

    def writer_dies(self):
        self.a.kill_dataplane()
        self.a.kill_controlplane()
        for writer in self.first:
            wait_until(lambda process=writer: process.find("^closed at"), 20, "the producer sees it")
            writer.kill9()
        self.kept = {stream: self.acknowledged(writer) for stream, writer in zip(STREAMS, self.first)}
        for node in (self.b, self.c):
            self.order(node, 0, "is being failed over")
        rows = {}

        def settled():
            rows.update({node.name: self.group(node) for node in (self.b, self.c)})
            return all(row.get("step") in ("done", "lost") for row in rows.values())

        try:
            wait_until(settled, 30, "one of two that were told at once took over")
        except Failed as late:
            raise Failed(f"{late}: {rows}") from late
        self.new = max((node for node in (self.b, self.c) if rows[node.name]["step"] == "done"),
                       key=lambda node: rows[node.name]["epoch_open"])
        if rows[self.new.name]["state"] != "open":
            raise Failed(f"who took over is not open: {rows}")
        self.order(self.new, 0)  # again: nothing more happens
        try:
            wait_until(lambda: self.group(self.new).get("grant") == "held", 10, "the new writer has a write grant")
        except Failed as late:
            raise Failed(f"{late}: {self.group(self.new)}") from late
        say(f"the writer's node is killed, two are told to take over: {self.new.name} writes under epoch "
            f"{rows[self.new.name]['epoch_open']}, the other one says {[row['step'] for row in rows.values()]}")

    def nothing_lost(self):
        for stream, kept in self.kept.items():
            row = self.row(self.new, stream)
            if row["lsn_durable"] < kept:
                raise Failed(f"{stream}: {kept} was acknowledged, the new writer has {row['lsn_durable']}")
        self.second = [self.write(self.new, stream, 100, ENTRIES) for stream in STREAMS]
        for stream, kept in self.kept.items():
            wait_until(lambda name=stream, end=kept: self.row(self.d, name).get("lsn_durable", 0) > end + 2000, 40,
                       f"{stream} goes on arriving in the other region: {self.row(self.d, stream)}")
        say("nothing acknowledged is lost, and the other region goes on receiving")

    def old_writer(self):
        self.a.start()
        wait_until(lambda: self.group(self.a).get("epoch_promised", 0) > 1, 40, "the old writer promises the new epoch")
        refused = self.write(self.a, "orders", 200)
        refused.expect(1, 30)
        if not refused.find("not_leader|NOT_LEADER|not the leader|written at another node|sealed|READ_ONLY"):
            raise Failed(f"a producer at the old writer is not told why: {refused.lines}")
        say("the old writer is back as a copy, and takes no producer")

    def all_equal(self):
        for writer in self.second:
            if writer.terminate(30) != 0:
                raise Failed(f"{writer.name}: {writer.lines[-3:]}")
        for stream, writer in zip(STREAMS, self.second):
            end = int(re.findall(r"^end (\d+)", "\n".join(writer.lines), re.M)[-1])
            for name, node in self.nodes.items():
                try:
                    wait_until(lambda node=node, name=stream, end=end:
                               self.row(node, name).get("lsn_committed", 0) == end, 30,
                               f"{name} has {stream} committed up to {end}")
                except Failed as late:
                    raise Failed(f"{late}: {self.row(node, stream)}") from late
                reader = Process(self.scratch, f"reader-{name}-{stream}",
                                 [self.reader, node.run, stream, "-", str(end)])
                reader.expect(0, 40)
                began = re.findall(r"^life 100 from (\d+)", "\n".join(reader.lines), re.M)
                if not began or int(began[0]) < self.kept[stream]:
                    raise Failed(f"{name}, {stream}: the new writer's entries begin at {began}, "
                                 f"{self.kept[stream]} was acknowledged")
        say("all nodes have the same")

    def copies(self):
        """Which logs count, by node, as the metastore has it."""
        with open(os.path.join(self.scratch.path, "metastore"), encoding="ascii") as store:
            line = next((line for line in store if line.startswith(f"group {GROUP} ")), "")
        return dict(re.findall(r" copy (\d+):(\w+)", line))

    def disk_lost(self):
        """The writer dies, and another member loses its disk. What that one had acknowledged is on the writer's alone
        now: the third one must not go on without it, whatever the empty log says."""
        wait_until(lambda: set(self.copies()) == {"1", "2", "3"}, 30, f"each member's log is named: {self.copies()}")
        before = self.copies()
        third = next(node for node in (self.b, self.c) if node is not self.new)
        ends = {stream: self.row(third, stream)["lsn_committed"] for stream in STREAMS}
        for node in (self.new, self.a):
            node.kill_dataplane()
            node.kill_controlplane()
        os.remove(self.a.log)
        self.a.create_log("128m")
        self.a.start()
        self.take_over(third)
        wait_until(lambda: "node 1's log is none of those" in self.group(third).get("reason", ""), 30,
                   f"an empty log does not count in a seal: {self.group(third)}")
        say("a member's disk is lost while the writer is dead: the group stays sealed, and says why")
        self.new.start()
        wait_until(lambda: self.group(third).get("step") == "done", 40, f"with the other one it goes on: "
                   f"{self.group(third)}")
        for stream, end in ends.items():
            wait_until(lambda name=stream, lsn=end: self.row(self.a, name).get("lsn_committed", 0) >= lsn, 30,
                       f"the new disk gets {stream} up to {end}")
        wait_until(lambda: self.copies().get("1") not in (None, before["1"]), 30,
                   f"the new log counts: {self.copies()}")
        say("with the writer's log it goes on; the new disk is filled, and counts then")
        return third

    def writer_anew(self, writer):
        """The writer comes back with an empty log. The command file does not say that it writes: the metastore does."""
        writer.kill_dataplane()
        writer.kill_controlplane()
        os.remove(writer.log)
        writer.create_log("128m")
        writer.start()
        writer.controlplane.wait_line("group_writer_anew", 30)
        self.take_over(self.new)
        wait_until(lambda: self.group(self.new).get("step") == "done", 40,
                   f"another member takes it over: {self.group(self.new)}")
        say("the writer's disk is lost: it says that nobody writes, and another member takes over")

    def run(self):
        self.net.start_with(self.nodes.values())
        self.cut_off()
        self.refused()
        self.writer_dies()
        self.nothing_lost()
        self.old_writer()
        self.all_equal()
        self.writer_anew(self.disk_lost())


if __name__ == "__main__":
    with Scratch() as scratch_directory:
        Test(scratch_directory, *(os.path.abspath(path) for path in sys.argv[1:3]), GRANTS).run()
