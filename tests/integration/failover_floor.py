#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A region of three nodes, two of which commit. c hears from the writer what is committed, but only small packets reach
it, so that it lacks some of that; b's disk is put back to an older image, and the writer dies. b and c are enough for a
seal, and neither has all that was acknowledged: c knows, and nothing begins. With the writer's log it goes on, and all
is where it was.

    failover_floor.py ONCE_CLIENT"""
import os
import re
import shutil
import sys

import writer_back
from cluster import Failed, Scratch, wait_until
from flow import say
from regions import wan_command

CLIENT, OTHER = "11", "22"
FIRST, LAST, PART = 20, 4020, 1000
SMALL_BYTES = 400  # less than a batch of many entries takes; what says how far it is committed takes less


class Test(writer_back.Test):
    # ---- what is shown ------------------------------------------------------------------------------------------

    def image_taken(self):
        self.there = self.append(self.a, "committed", (CLIENT, 1, FIRST))
        self.all_have(FIRST + 1)
        self.are_named()
        self.kill(self.b)
        shutil.copyfile(self.b.log, self.b.log + ".old")
        self.b.start()
        self.a.wait_up("b", 40)

    def c_lags(self):
        wan_command(self.net.run, f"link set a c delay 0ms rate 1g queue 4m mtu {SMALL_BYTES}")
        for first in range(FIRST + 1, LAST, PART):  # of one of these at least c is told while others are written
            self.there.update(self.append(self.a, "committed", (CLIENT, first, first + PART - 1)))
        self.lacks = self.row(self.c)["lsn_durable"]
        if self.lacks > LAST // 2:
            raise Failed(f"large packets reach c: {self.row(self.c)}")

    def blocked(self):
        for node in (self.a, self.b):
            self.kill(node)
        os.replace(self.b.log + ".old", self.b.log)
        self.b.start()
        self.take_over(self.c)

        def told():
            return re.search(r"node 3 knows that it was committed to (\d+)", self.group(self.c).get("reason", ""))
        known = int(wait_until(told, 20, f"c says what it knows: {self.group(self.c)}")[1])
        if not self.lacks < known <= LAST + 1:
            raise Failed(f"c ends at {self.lacks}, and knows that it was committed to {known}")
        wait_until(lambda: self.event(self.c, "recovery_blocked"), 20, "c says so")
        row = self.group(self.c)
        if row["step"] != "seal" or row["state"] == "open":
            raise Failed(f"a fail-over that lacks what was acknowledged goes on: {row}")
        say("b's disk is old, c lacks some, and the writer is dead: c knows what was committed, and nothing begins")

    def goes_on(self):
        wan_command(self.net.run, "link set a c delay 0ms rate 1g queue 4m")
        self.a.start()
        wait_until(lambda: self.group(self.c).get("step") == "done", 60, f"c takes over: {self.group(self.c)}")
        self.append(self.c, "committed", (OTHER, 1, 5))
        if self.append(self.c, "committed", (CLIENT, 1, LAST)) != self.there:
            raise Failed("what was acknowledged is elsewhere, or not there")
        self.all_have(LAST + 6)
        say("with the writer's log it goes on, and all that was acknowledged is where it was")

    def run(self):
        self.net.start_with(self.members)
        self.image_taken()
        self.c_lags()
        self.blocked()
        self.goes_on()


if __name__ == "__main__":
    with Scratch() as scratch_directory:
        Test(scratch_directory, os.path.abspath(sys.argv[1])).run()
