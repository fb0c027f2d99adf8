#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A group is sealed and opened by helioctl, on the node that takes it and on the one that writes it, while entries come
in; dataplanes and control planes are killed in every state. What was promised is promised again, nothing older is
taken, and all that was ever durable reads back."""
import os
import secrets
import sys

from cluster import Failed, Process, Scratch, wait_until
from flow import say
from regions import Region, Wan, write

ENTRIES = 5000
GROUP = "3"


class Test:
    def __init__(self, scratch, reader, writer):
        self.scratch, self.reader, self.writer = scratch, reader, writer
        self.wan = Wan(scratch, rtt_ms=10, loss_percent=0.1)
        key = write(os.path.join(scratch.path, "link.key"), secrets.token_hex(32) + "\n", 0o600)

        def commands(own, other, number):
            return (f"port add wan0 memif socket {self.wan.socket(own)} id 0 mac 02:00:00:00:00:0{own} "
                    f"address 10.0.0.{3 - number}/24\n"
                    f"peer add {other} node {number} region {number} address 10.0.0.{number} "
                    f"mac 02:00:00:00:00:0{other} port wan0 key {key} rate 400m credit 8m\n"
                    f"stream add s id 5 kind key-value region 1 group {GROUP}\n"
                    "stream add t id 6 kind key-value region 1\n")

        self.a = Region(scratch, "a", 1, commands("a", "b", 2) + "stream replicate s b\nstream replicate t b\n", "256m")
        self.b = Region(scratch, "b", 2, commands("b", "a", 1), "256m")
        self.end = 1

    def durable(self, node, stream="s"):
        return (node.stream(stream) or {}).get("lsn_durable", 0)

    def group(self, node):
        shown = node.show() or {"groups": []}
        return next((row for row in shown["groups"] if row["group"] == int(GROUP)), None)

    def state_is(self, node, state, promised):
        wait_until(lambda: (self.group(node) or {}).get("state") == state, 30, f"{node.name}'s group is {state}")
        row = self.group(node)
        if row["epoch_promised"] != promised:
            raise Failed(f"{node.name} has promised {row['epoch_promised']}, not {promised}")

    def order(self, node, what, epoch, code, says=""):
        answer = node.ctl("group", what, GROUP, "epoch", str(epoch))
        if answer["code"] != code or says not in answer.get("error", ""):
            raise Failed(f"{node.name}: group {what} epoch {epoch}: {answer}, wanted {code} {says}")
        return answer

    def write(self, stream="s"):
        return Process(self.scratch, "writer", [self.writer, self.a.run, stream, str(ENTRIES)])

    def written(self):
        self.write().expect(0, 60)
        self.end += ENTRIES

    def arrives(self):
        wait_until(lambda: self.durable(self.b) == self.end, 60, f"b has everything up to {self.end}")

    def dropped(self, node, *names):
        shown = node.show() or {"drops": []}
        return sum(drop["count"] for drop in shown["drops"] if drop["name"] in names)

    def taker(self):
        """b promises: what a writes under the old epoch is durable there alone."""
        answer = self.order(self.b, "seal", 5, 0)["data"]
        tail = answer["tails"][0]
        if answer["groups"][0]["state"] != "sealed" or tail["lsn_durable"] != self.end or tail["epoch_last"] != 1:
            raise Failed(f"the seal answers {answer}")
        sealed_end = self.end
        self.written()
        wait_until(lambda: self.dropped(self.b, "sealed_EPOCH", "open_EPOCH") > 0, 30, "b refuses the old epoch")
        for _ in range(2):
            self.b.kill_dataplane()
            self.b.start_dataplane()
            self.state_is(self.b, "sealed", 5)
            if self.durable(self.b) != sealed_end:
                raise Failed(f"a sealed tail moved from {sealed_end} to {self.durable(self.b)}")
        self.write("t").expect(0, 60)  # another group goes on
        wait_until(lambda: self.durable(self.b, "t") == self.durable(self.a, "t") > 1, 60, "the other group goes on")
        self.order(self.b, "seal", 4, 1, "take a higher epoch")
        self.order(self.b, "open", 5, 1, "region 1")
        say("the taker is sealed, over kill -9")

    def origin(self):
        """a promises while a producer writes: that one is told, and nobody writes until the epoch is open."""
        before = self.durable(self.a)
        writer = Process(self.scratch, "writer-long", [self.writer, self.a.run, "s", "100000000"])
        wait_until(lambda: self.durable(self.a) > before + 1000, 30, "a producer writes")
        if self.a.ctl("group", "seal", GROUP, "epoch", "5", "dry-run")["code"] != 0 or not writer.alive():
            raise Failed("a dry run does nothing")
        self.order(self.a, "seal", 5, 0)
        writer.expect(1, 20)
        if not writer.find("not the leader|NOT_LEADER|not_leader|deposed|sealed"):
            raise Failed("the producer was not told why")
        self.end = self.durable(self.a)
        self.a.kill_dataplane()
        self.a.start_dataplane()
        self.state_is(self.a, "sealed", 5)
        if self.durable(self.a) != self.end:
            raise Failed(f"a's sealed tail moved from {self.end} to {self.durable(self.a)}")
        self.order(self.a, "open", 6, 1, "was not sealed for epoch 6")
        say("the origin is sealed, over kill -9")

    def opened(self):
        self.order(self.a, "open", 5, 0)
        self.order(self.a, "open", 5, 0)
        self.state_is(self.a, "open", 5)
        self.order(self.a, "seal", 5, 1, "open under epoch 5")
        self.written()
        self.arrives()
        for node in (self.a, self.b):
            node.kill_dataplane()
            node.kill_controlplane()
            node.start()
        self.state_is(self.a, "open", 5)
        self.state_is(self.b, "sealed", 5)
        self.order(self.a, "seal", 5, 1, "open under epoch 5")  # the metastore is a file
        self.written()
        self.arrives()
        for node in (self.a, self.b):
            tail = next(row for row in node.show()["tails"] if row["stream"] == "s")
            if [start["epoch"] for start in tail["epochs"]] != [1, 5]:
                raise Failed(f"{node.name}'s history is {tail['epochs']}")
            Process(self.scratch, f"reader-{node.name}", [self.reader, node.run, "s", str(self.end)]).expect(0, 60)
        say("open under the new epoch, everything there")

    def run(self):
        self.wan.start()
        for node in (self.a, self.b):
            node.start()
        self.a.wait_up("b", 30)
        self.written()
        self.arrives()
        self.taker()
        self.origin()
        self.opened()


def main():
    with Scratch("helio-seal-") as scratch:
        Test(scratch, *(os.path.abspath(path) for path in sys.argv[1:3])).run()
        say("ok")


if __name__ == "__main__":
    main()
