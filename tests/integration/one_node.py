#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One node: PostgreSQL in -> log -> segments out, under load, while each of its four processes is killed in turn at
moments that chance chooses."""
import json
import subprocess

from cluster import Failed, Scratch, wait_until
from flow import Flow, say, seeded
from regions import Region, program

ROUNDS = 3


class Test:
    def __init__(self, scratch):
        self.random = seeded()
        self.node = Region(scratch, "node", 1, "stream add orders id 1 kind postgres-physical region 1\n"
                                               "consumer add segments stream orders\n", log_size="256m")
        self.flow = Flow(scratch, self.node, self.node)

    def kill(self, what):
        """Kills, lets the load go on without it for a while (or not at all), starts it again, and everything flows."""
        grow = self.random.randrange(20000, 400000)
        self.flow.wal_grows(grow)
        victim = {"dataplane": self.node.dataplane, "controlplane": self.node.controlplane,
                  "in": self.flow.writer, "out": self.flow.reader}[what]
        victim.kill9()
        self.log_is_fine()
        if self.random.random() < 0.5:
            self.flow.wal_grows(self.random.randrange(10000, 200000))
        {"dataplane": self.node.start_dataplane, "controlplane": self.node.start_controlplane,
         "in": self.flow.start_in, "out": self.flow.start_out}[what]()
        self.flow.durable_moves()
        self.segments_move()

    def log_is_fine(self):
        """The log as it lies there, in use or just left by a killed dataplane: nobody finds damage in it, nor waits."""
        found = self.log_tool("verify")
        if found["verdict"] != "fine" or found["findings"]:
            raise Failed(f"helio-log verify: {found}")
        streams = self.log_tool("stat")["streams"]
        if len(streams) != 1 or streams[0]["name"] != "orders" or streams[0]["batches"] == 0:
            raise Failed(f"helio-log stat: {streams}")

    def log_tool(self, command):
        done = subprocess.run([program("helio-log"), command, self.node.log, "--json"], capture_output=True, text=True,
                              timeout=60)
        if done.returncode != 0:
            raise Failed(f"helio-log {command} ends with {done.returncode}: {done.stdout} {done.stderr}")
        return json.loads(done.stdout)

    def kill_twice(self):
        """Both halves of the path at once, and a dataplane that dies while it recovers."""
        self.node.kill_dataplane()
        self.flow.writer.kill9()
        self.flow.reader.kill9()
        for _ in range(3):
            self.node.start_dataplane()
            self.node.kill_dataplane()
        self.node.start_dataplane()
        self.flow.start_out()
        self.flow.start_in()
        self.flow.durable_moves()
        self.segments_move()

    def segments_move(self):
        before = len(self.flow.segments())
        wait_until(lambda: len(self.flow.segments()) > before, 60, "another segment is complete")

    def run(self):
        self.node.start()
        self.flow.begin()
        self.flow.load_start()
        for number in range(ROUNDS):
            order = ["dataplane", "controlplane", "in", "out"]
            self.random.shuffle(order)
            for what in order:
                self.kill(what)
            self.flow.slot_follows()
            say(f"round {number + 1}: killed {', '.join(order)}")
        self.kill_twice()
        self.flow.finish(segments_min=10)
        self.flow.primary_stops()
        if self.node.dataplane.terminate() != 0 or self.node.controlplane.terminate() != 0:
            raise Failed("an orderly end is exit code 0")
        self.flow.writer.terminate()
        self.flow.reader.terminate()


def main():
    with Scratch("helio-one-node-") as scratch:
        Test(scratch).run()
        say("ok")


if __name__ == "__main__":
    main()
