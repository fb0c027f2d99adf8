#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A log that a dataplane wrote, with one block flipped at a time: superblocks, header ring, every block of every write.
What helio-log verify says a start would make of it is what a start makes of it: it opens, and every acknowledged entry
is there, or it is refused by name, exit 4, and not a byte of the file is changed. Never anything else.

    log_blocks.py STREAM_WRITER STREAM_READER [--all]

Without --all: blocks that chance chooses, of each kind some, and a start on a few of those. That judgement is of any
block the same function as recovery's (unit log_audit has every block of a simulated disk)."""
import argparse
import collections
import os
import re
import shutil
import subprocess

from cluster import Failed, Process, Scratch, wait_until
from flow import say, seeded
from log_image import BLOCK_BYTES, RING_OFFSET, RING_WRITES, flip, helio_log, writes_of
from regions import Region, program

ENTRIES = 4000
JUDGED, STARTED = 8, 2  # of each kind, without --all
OPENS = {0: "fine", 4: "worn"}  # by verify's exit code; 1 is damaged
STREAM = "s"


class Test:
    def __init__(self, scratch, arguments):
        self.scratch = scratch
        self.arguments = arguments
        self.random = seeded()
        self.node = Region(scratch, "a", 1, f"stream add {STREAM} id 5 kind key-value region 1\n", log_size="32m")
        self.image = os.path.join(scratch.path, "image")
        self.end = ENTRIES + 1
        self.outcomes = collections.Counter()

    def start(self):
        self.node.start_dataplane("--mem", "64")

    def begin(self):
        """The log as it is to be, written by kills and starts, and left by one that was killed."""
        self.start()
        self.node.start_controlplane()
        for _ in range(4):
            Process(self.scratch, "writer", [self.arguments.writer, self.node.run, STREAM, str(ENTRIES // 4)]).expect(
                0, 60)
            self.node.kill_dataplane()
            self.start()
        wait_until(lambda: (self.node.stream(STREAM) or {}).get("lsn_durable") == self.end, 30, "all is durable")
        self.node.kill_dataplane()
        shutil.copyfile(self.node.log, self.image)

    def blocks(self):
        """[(kind, byte of the file)] of all that the log uses."""
        writes = writes_of(helio_log(0, "dump", self.image))
        found = [("superblock", at * BLOCK_BYTES) for at in range(RING_OFFSET // BLOCK_BYTES)]
        found += [("ring", RING_OFFSET + write.sequence % RING_WRITES * BLOCK_BYTES) for write in writes]
        for write in writes:
            found.append(("header", write.begin))
            found += [("payload", write.begin + BLOCK_BYTES + at) for at in range(0, write.payload, BLOCK_BYTES)]
        say(f"{len(writes)} writes of {len(found)} blocks with the ring's and the superblocks")
        return found

    def chosen(self, blocks):
        """[(kind, byte of the file, whether the dataplane is started)]"""
        if self.arguments.all:
            return [(*block, True) for block in blocks]
        chosen = []
        for kind in sorted({kind for kind, _ in blocks}):
            of_kind = [block for block in blocks if block[0] == kind]
            some = self.random.sample(of_kind, min(JUDGED, len(of_kind)))
            chosen += [(*block, i < STARTED) for i, block in enumerate(some)]
        return chosen

    def verify(self, place):
        done = subprocess.run([program("helio-log"), "verify", self.node.log], capture_output=True, text=True,
                              timeout=60)
        if done.returncode not in (0, 1, 4):
            raise Failed(f"{place}: helio-log verify ends with {done.returncode}: {done.stdout}{done.stderr}")
        if (done.returncode == 1) != ("a start refuses it" in done.stdout):
            raise Failed(f"{place}: exit {done.returncode}: {done.stdout}")
        return done.returncode

    def opens(self, place):
        self.node.dataplane.wait_line("log_ready", 30)
        reader = Process(self.scratch, "reader", [self.arguments.reader, self.node.run, STREAM, str(self.end)])
        if reader.wait(60) != 0:
            raise Failed(f"{place}: it opened, and entries are missing: {reader.lines[-3:]}")
        self.node.kill_dataplane()

    def refused(self, place, before):
        self.node.dataplane.expect(4, 30)
        if self.node.dataplane.find(r"write of sequence \d+ at byte \d+ of the file") is None:
            raise Failed(f"{place}: refused, and it is not said where: {self.node.dataplane.lines[-5:]}")
        with open(self.node.log, "rb") as file:
            if file.read() != before:
                raise Failed(f"{place}: a log that is refused was changed")

    def one(self, kind, at, starts):
        offset = at + self.random.randrange(BLOCK_BYTES)
        place = f"{kind}, byte {offset}"
        flip(self.node.log, offset)
        code = self.verify(place)
        if not starts:
            flip(self.node.log, offset)
        else:
            with open(self.node.log, "rb") as file:
                before = file.read()
            self.start()
            if code in OPENS:
                self.opens(place)
            else:
                self.refused(place, before)
            shutil.copyfile(self.image, self.node.log)
        self.outcomes[kind, OPENS.get(code, "damaged"), "started" if starts else "judged"] += 1

    def run(self):
        self.begin()
        for block in self.chosen(self.blocks()):
            self.one(*block)
        for (kind, state, how), count in sorted(self.outcomes.items()):
            say(f"{kind}, {state}, {how}: {count}")
        seen = {(kind, state) for kind, state, _ in self.outcomes}
        for wanted in (("superblock", "worn"), ("ring", "worn"), ("header", "worn"), ("payload", "damaged")):
            if wanted not in seen:
                raise Failed(f"no {wanted[0]} was found {wanted[1]}: {seen}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("writer", type=os.path.abspath)
    parser.add_argument("reader", type=os.path.abspath)
    parser.add_argument("--all", action="store_true")
    with Scratch("helio-blocks-") as scratch:
        Test(scratch, parser.parse_args()).run()
        say("ok")


if __name__ == "__main__":
    main()
