#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A control plane that drives a fail-over is killed at each of its steps. The next one goes on with it by itself, and
nothing that was acknowledged is lost; a group that was sealed by an order of its own stays as it is."""
import fcntl
import os
import re
import sys
import time

import failover
from cluster import Failed, Scratch, wait_until
from flow import say

GROUP = failover.GROUP


class Test(failover.Test):
    def store(self):
        """The group's line of the metastore: its state and epoch."""
        try:
            with open(os.path.join(self.scratch.path, "metastore"), encoding="ascii") as file:
                found = re.search(rf"^group {GROUP} .* (sealing|open) epoch (\d+) node (\d+) .*$", file.read(), re.M)
        except FileNotFoundError:
            return ("none", 0, 0, "")
        return (found[1], int(found[2]), int(found[3]), found[0]) if found else ("none", 0, 0, "")

    def died(self, node, step):
        """Its control plane is killed, and another one starts: the order is not given again."""
        node.kill_controlplane()
        node.start_controlplane()
        self.killed.append(step)

    def goes_on(self, node, what):
        number = failover.NODES[node.name]

        def written():
            state, _, owner, _ = self.store()
            return state == "open" and owner == number and self.group(node).get("state") == "open"

        try:
            wait_until(written, 40, what)
        except Failed as late:
            raise Failed(f"{late}: metastore {self.store()}, {self.group(node)}") from late

    def events(self, node, name):
        return [event["text"] for event in (node.show() or {"events": []})["events"] if event["name"] == name]

    # ---- what is shown ------------------------------------------------------------------------------------------

    def sealing(self):
        """Too few members answer: the step lasts, and two control planes die in it."""
        self.first = [self.write(self.a, "orders", 1)]
        wait_until(lambda: self.row(self.d).get("lsn_durable", 0) > 500, 40, "orders arrives in the other region")
        self.a.kill_dataplane()
        self.a.kill_controlplane()
        self.c.kill_dataplane()
        wait_until(lambda: self.first[0].find("^closed at"), 20, "the producer sees it")
        self.first[0].kill9()
        self.kept = self.acknowledged(self.first[0])
        self.order(self.b, 0, "is being failed over")
        for _ in range(2):
            wait_until(lambda: self.group(self.b).get("step") == "seal", 20, "it waits at seal")
            self.died(self.b, "seal")
        wait_until(lambda: self.events(self.b, "group_failover_left"), 20, "the next one says that it goes on")
        if "failover 1" not in self.store()[3]:
            raise Failed(f"the metastore does not say that a fail-over took it: {self.store()}")
        self.c.start_dataplane()
        self.goes_on(self.b, "b takes over after its control planes died")
        say(f"killed at seal, twice: the fail-over to b goes on by itself under epoch {self.store()[1]}")

    def opening(self):
        """The metastore takes nothing when the epoch is to be opened; then it does, and nobody is there to hear it."""
        lock = os.open(os.path.join(self.scratch.path, "metastore.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self.order(self.c, 0, "is being failed over")
            wait_until(lambda: self.store()[0] == "sealing", 20, "c takes an epoch")
            fcntl.flock(lock, fcntl.LOCK_EX)
            wait_until(lambda: self.group(self.c).get("step") in ("open", "read"), 30, "it waits for the metastore")
            self.died(self.c, "open")
            time.sleep(0.2)  # it looks, and finds the metastore held
        finally:
            os.close(lock)
        self.goes_on(self.c, "c takes over after its control plane died")
        say(f"killed while it opens: goes on by itself under epoch {self.store()[1]}")

    def anywhere(self):
        """Back and forth; the control plane dies when the metastore says that the epoch is taken, and so much later."""
        for turn, delay_ms in enumerate([0, 20, 60, 120, 200, 300, 420, 560]):
            node = (self.b, self.c)[turn % 2]
            before = self.store()[1]
            self.order(node, 0, "is being failed over")
            wait_until(lambda number=before: self.store()[1] > number, 20, "an epoch is taken")
            time.sleep(delay_ms / 1000)
            step = self.group(node).get("step")
            self.died(node, step)
            self.goes_on(node, f"{node.name} takes over, killed {delay_ms} ms after it took an epoch ({step})")
        say(f"killed at {', '.join(sorted(set(self.killed)))}: each fail-over goes on by itself")

    def sealed_by_order(self):
        """An order to seal is done when it is sealed: a start of the control plane opens nothing."""
        node = self.c if self.store()[2] == failover.NODES["c"] else self.b
        epoch = self.store()[1] + 1
        answer = node.ctl("group", "seal", GROUP, "epoch", str(epoch))
        if answer["code"] != 0:
            raise Failed(f"group seal: {answer}")
        node.kill_controlplane()
        node.start_controlplane()
        wait_until(lambda: self.group(node).get("state") == "sealed", 20, "it is shown sealed")
        time.sleep(1.5)  # three looks
        if self.store()[0] != "sealing" or self.group(node).get("step") != "idle":
            raise Failed(f"a sealed group was failed over: {self.store()}, {self.group(node)}")
        answer = node.ctl("group", "open", GROUP, "epoch", str(epoch))
        if answer["code"] != 0:
            raise Failed(f"group open: {answer}")
        self.new = node
        say("what was sealed by an order of its own stays sealed until it is opened")

    def nothing_lost(self):
        end = self.row(self.new)["lsn_durable"]
        if end < self.kept:
            raise Failed(f"{self.kept} was acknowledged, the writer has {end}")
        writer = self.write(self.new, "orders", 100)
        wait_until(lambda: self.row(self.d).get("lsn_durable", 0) > end + 500, 40,
                   "orders goes on arriving in the other region")
        if writer.terminate(30) != 0:
            raise Failed(f"{writer.name}: {writer.lines[-3:]}")
        say(f"{self.kept} was acknowledged and is there; the other region goes on receiving")

    def run(self):
        self.killed = []
        self.net.start()
        for node in self.nodes.values():
            node.start()
        for node in self.nodes.values():
            node.wait_ready(40)
        self.sealing()
        self.opening()
        self.anywhere()
        self.sealed_by_order()
        self.nothing_lost()


if __name__ == "__main__":
    with Scratch() as scratch_directory:
        Test(scratch_directory, *(os.path.abspath(path) for path in sys.argv[1:3])).run()
