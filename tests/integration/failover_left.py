#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A control plane that drives a fail-over is killed at each of its steps: when it says the step, or at a marked call
after that (kill_shim.c). The next one goes on with it by itself, what was acknowledged is where it was, and entries
that are tried again are there once; a group that was sealed by an order of its own stays as it is.

    failover_left.py ONCE_CLIENT KILL_SHIM [--all]

Of a step's marked calls one is taken, by chance; with --all each."""
import os
import re
import signal
import sys

import failover
import resubmit
from cluster import Failed, Scratch, wait_until
from flow import say, seeded

GROUP = failover.GROUP
# What is said of a step, and where in it to die. A `write` is the doorbell of what it asks of dataplanes, a `rename`
# is how the metastore's file is written.
POINTS = [("read", "asking the metastore who writes", "say:1:before"),
          ("take", "taking an epoch in the metastore", "rename:1:before"),
          ("take", "taking an epoch in the metastore", "rename:1:after"),
          ("seal", "sealing the members", "say:1:before"),
          ("seal", "sealing the members", "write:1:after"),
          ("fill", "filling this node's copy", "say:1:before"),
          ("fill", "filling this node's copy", "write:1:after"),
          ("begin", "beginning the epoch in this node's log", "say:1:before"),
          ("begin", "beginning the epoch in this node's log", "write:1:after"),
          ("adopt", "bringing members to the tail", "say:1:before"),
          ("open", "opening the epoch in the metastore", "rename:1:before"),
          ("open", "opening the epoch in the metastore", "rename:1:after"),
          ("release", "letting producers write", "say:1:before"),
          ("release", "letting producers write", "write:1:after")]
NOTHING_DONE = [("read", "say:1:before"), ("take", "rename:1:before")]  # no epoch is taken: ordered again
FIRST_CLIENT = 100  # each fail-over has a client of its own, that tries its entries again


def points_chosen():
    chance, steps = seeded(), dict.fromkeys(step for step, _, _ in POINTS)
    return [chance.choice([point for point in POINTS if point[0] == step]) for step in steps]


class Test(resubmit.Test):
    def __init__(self, scratch, client, shim):
        super().__init__(scratch, client)
        self.shim = shim
        self.clients = FIRST_CLIENT
        self.there = {}

    def store(self):
        """The group's line of the metastore: its state, epoch, node, and all of it."""
        try:
            with open(os.path.join(self.scratch.path, "metastore"), encoding="ascii") as file:
                found = re.search(rf"^group {GROUP} .* (sealing|open) epoch (\d+) node (\d+) .*$", file.read(), re.M)
        except FileNotFoundError:
            return ("none", 0, 0, "")
        return (found[1], int(found[2]), int(found[3]), found[0]) if found else ("none", 0, 0, "")

    def goes_on(self, node, what):
        number = failover.NODES[node.name]

        def written():
            state, _, owner, _ = self.store()
            return state == "open" and owner == number and self.group(node).get("state") == "open"

        try:
            wait_until(written, 40, what)
        except Failed as late:
            raise Failed(f"{late}: metastore {self.store()}, {self.group(node)}") from late

    def event_is(self, node, name):
        wait_until(lambda: any(event["name"] == name for event in (node.show() or {"events": []})["events"]), 20,
                   f"{node.name} says {name}")

    def others(self, writer, new):
        return next(node for node in (self.a, self.b, self.c) if node not in (writer, new))

    def lags(self, writer, new):
        """The new writer lacks some of what the two others have committed. That client's entries, and its number."""
        self.clients += 1
        client = str(self.clients)
        told = self.append(writer, "committed", (client, 1, 5))
        self.net.cut(writer.name, new.name)
        told.update(self.append(writer, "committed", (client, 6, 10)))
        end, third = max(told.values()) + 1, self.others(writer, new)
        wait_until(lambda: self.row(third).get("lsn_committed") == end, 20, f"{third.name} has all that is committed")
        return client, told

    def tried_again(self, writer, new, client, told):
        # Somebody else's entry, which takes the place of what is lost.
        self.there.update(self.append(new, "committed", (str(FIRST_CLIENT - 1), self.clients, self.clients)))
        again = self.append(new, "committed", (client, 1, 12))
        if {key: again[key] for key in told} != told:
            raise Failed(f"{told} was acknowledged, {new.name} says {again}")
        self.there.update(again)
        self.net.restore(writer.name, new.name)
        wait_until(lambda: self.row(writer).get("lsn_committed") == max(again.values()) + 1, 40,
                   f"{writer.name} is a copy of all: {self.row(writer)}")

    # ---- what is shown ------------------------------------------------------------------------------------------

    def sealing(self):
        """Too few members answer: the step lasts, and two control planes die in it."""
        client, told = self.lags(self.a, self.b)
        self.c.kill_dataplane()
        self.order(self.b, 0, "is being failed over", "force")  # it hears nobody
        for _ in range(2):
            wait_until(lambda: self.group(self.b).get("step") == "seal", 20, "it waits at seal")
            self.b.kill_controlplane()
            self.b.start_controlplane()
        self.event_is(self.b, "group_failover_left")
        if "failover 1" not in self.store()[3]:
            raise Failed(f"the metastore does not say that a fail-over took it: {self.store()}")
        self.c.start_dataplane()
        self.goes_on(self.b, "b takes over after its control planes died")
        self.tried_again(self.a, self.b, client, told)
        say(f"killed at seal, twice: the fail-over to b goes on by itself under epoch {self.store()[1]}")

    def killed_at(self, writer, new, point):
        step, text, mark = point
        is_done = (step, mark) not in NOTHING_DONE
        client, told = self.lags(writer, new)
        before = self.store()[1]
        new.kill_controlplane()
        new.start_controlplane({"LD_PRELOAD": self.shim, "HELIO_KILL": mark, "HELIO_KILL_SAYS": text})
        wait_until(lambda: self.group(new).get("members_generation") is not None, 20, "its control plane is there")
        self.take_over(new)
        code = new.controlplane.wait(40)
        if code != -signal.SIGKILL:
            raise Failed(f"its control plane ended with {code} at {step}, {mark}")
        if is_done != (self.store()[1] > before):
            raise Failed(f"killed at {step}, {mark}: {self.store()}, it was epoch {before}")
        new.start_controlplane()
        if not is_done:
            wait_until(lambda: self.group(new).get("step") == "idle", 20, f"{new.name} has its group")
            self.take_over(new)
        self.goes_on(new, f"{new.name} takes over, killed at {step}, {mark}")
        self.tried_again(writer, new, client, told)
        say(f"killed at {step}, {mark}: {'goes on by itself' if is_done else 'nothing was done'}, "
            f"epoch {self.store()[1]}")

    def sealed_by_order(self, node):
        """An order to seal is done when it is sealed: a start of the control plane opens nothing."""
        epoch = self.store()[1] + 1
        answer = node.ctl("group", "seal", GROUP, "epoch", str(epoch))
        if answer["code"] != 0:
            raise Failed(f"group seal: {answer}")
        node.kill_controlplane()
        node.start_controlplane()
        self.event_is(node, "group_left_sealed")  # it looked
        if self.store()[:2] != ("sealing", epoch) or self.group(node).get("step") != "idle":
            raise Failed(f"a sealed group was failed over: {self.store()}, {self.group(node)}")
        answer = node.ctl("group", "open", GROUP, "epoch", str(epoch))
        if answer["code"] != 0:
            raise Failed(f"group open: {answer}")
        self.goes_on(node, "it is opened")
        self.there.update(self.append(node, "committed", (str(FIRST_CLIENT), 1, 5)))
        say("what was sealed by an order of its own stays sealed until it is opened")

    def all_equal(self):
        end = len(self.there) + 1
        for name, node in self.nodes.items():
            wait_until(lambda node=node: self.row(node).get("lsn_committed") == end, 30,
                       f"{name} has all {len(self.there)} entries: {self.row(node)}")
            if self.call(node, "read", str(end)) != self.there:
                raise Failed(f"{name} has other entries than were acknowledged")
        say(f"all nodes have the same {len(self.there)} entries, each once")

    def run(self, points):
        self.net.start_with(self.nodes.values())
        self.sealing()
        writer, new = self.b, self.c
        for point in points:
            self.killed_at(writer, new, point)
            writer, new = new, self.others(writer, new)
        self.sealed_by_order(writer)
        self.all_equal()


if __name__ == "__main__":
    with Scratch() as scratch_directory:
        test = Test(scratch_directory, *(os.path.abspath(path) for path in sys.argv[1:3]))
        test.run(POINTS if "--all" in sys.argv else points_chosen())
