#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What io_uring may answer to the log of a running dataplane, one case after the other (uring_shim.c makes the
answers): errors of writes, of flushes and of reads, writes and reads cut short, of every kind of block, under load.

An error of a write or a flush ends the dataplane with 3, named; nothing is acknowledged from then on, and once it is
started again all that ever was is there. A short write is written once more, and counted. A read that fails is tried
again; if it stays bad, its reader is told and nobody else, and it can be read once the device reads again.

    disk_faults.py LIFE_WRITER LIFE_READER URING_SHIM [CASE...]
    disk_faults.py LIFE_WRITER LIFE_READER URING_SHIM --bug DATAPLANE

The second shows that this can fail: DATAPLANE acknowledges what is not flushed, and loses it."""
import os
import pathlib
import sys

from cluster import Failed, Scratch, wait_until
from flow import say
from lives import Lives
from regions import Region

STREAM = "entries"
ENTRIES = 2000  # a case has at least so many before the fault, and after
AGAIN = "nothing after it was acknowledged: restart, and recovery reads the disk anew"

# case: (HELIO_URING, what the dataplane says as it ends)
ENDS = {
    "write_error": ("write:3:EIO", f"write of sequence \\d+: Input/output error; {AGAIN}"),
    "write_no_space": ("write:3:ENOSPC", f"write of sequence \\d+: No space left on device; {AGAIN}"),
    "write_canceled": ("write:3:ECANCELED", f"write of sequence \\d+: Operation canceled; {AGAIN}"),
    "write_read_only": ("write:3:EROFS", f"write of sequence \\d+: Read-only file system; {AGAIN}"),
    "writes_short": ("write:3+:short", f"write of sequence \\d+: short twice; {AGAIN}"),
    "ring_error": ("ring:3:EIO", f"header ring copy of write \\d+: Input/output error; {AGAIN}"),
    "ring_short": ("ring:3+:short", f"header ring copy of write \\d+: short twice; {AGAIN}"),
    "superblock_error": ("superblock:1:EIO", "superblock copy [0-3]: Input/output error; restart"),
    "superblock_short": ("superblock:1+:short", "superblock copy [0-3]: short twice; restart"),
    "flush_error": ("flush:3:EIO", "flush after write \\d+: Input/output error; writes after \\d+ are not acknowl"),
    "flush_canceled": ("flush:3:ECANCELED", "flush after write \\d+: Operation canceled"),
    "flush_no_space": ("flush:3:ENOSPC", "flush after write \\d+: No space left on device"),
    "lost_and_flush_error": ("write:1+:lost,flush:1:EIO", "flush after write \\d+: Input/output error"),
}
# What recovery meets, from its first submission on.
RECOVERY_ENDS = {
    "recovery_superblock_error": ("read:1+:EIO", "superblock copy 0 at byte 0 can't be read \\(Input/output erro"),
    "recovery_read_error": ("read:6+:EIO", "recovery: more than \\d+ blocks can't be read, .*: Input/output error"),
    "recovery_flush_error": ("flush:1:EIO", "recovery: a flush: Input/output error; what was durable still is"),
}


class Test:
    def __init__(self, scratch, programs, shim):
        self.shim = shim
        self.node = Region(scratch, "node", 1, f"stream add {STREAM} id 1 kind key-value region 1\n"
                                               f"consumer add reads-{STREAM} stream {STREAM}\n", log_size="256m")
        self.events_seen = 0  # lines of the control plane before the fault
        self.when = os.path.join(self.node.run, "fail-now")
        self.node.start()
        self.lives = Lives(scratch, programs, STREAM, self.node, [self.node])

    def start(self, rules=None, at_once=False, path=None, looked_at=True):
        """A new dataplane. The rules hold from fail_now() on, or at once."""
        self.node.kill_dataplane()
        if looked_at:
            pathlib.Path(self.node.run, "disk.failures").unlink(missing_ok=True)
        if os.path.exists(self.when):
            os.unlink(self.when)
        env = {"LD_PRELOAD": self.shim, "HELIO_URING": rules} if rules else {}
        if not at_once:
            env["HELIO_URING_WHEN"] = self.when
        self.node.start_dataplane("--mem", "64", env=env, path=path)

    def start_for(self, rules, path=None):
        """And the writer goes on with it: what it said of the dataplane before may still be on its way to us."""
        def lives():
            return sum(line.startswith("life ") for line in self.lives.writer.process.lines)
        before = lives()
        self.start(rules, path=path)
        wait_until(lambda: lives() > before, 20, "the writer is attached again")

    def fail_now(self):
        with open(self.when, "w", encoding="utf-8"):
            pass

    def more(self):
        """So many entries more are acknowledged, and read."""
        goal = self.lives.writer.position() + ENTRIES
        wait_until(lambda: self.lives.writer.position() >= goal, 20, "entries are acknowledged")
        wait_until(lambda: self.lives.readers["node"].position() >= goal, 20, "entries are read")

    def log(self):
        return self.node.show()["log"][0]

    def injected(self, count):
        """So many effects of the shim were there."""
        wait_until(lambda: sum(line.startswith("uring_shim: ") for line in self.node.dataplane.lines) >= count, 30,
                   f"{count} submissions went wrong")

    def ended(self, words):
        """Named on standard error, by an event, in the answer of helioctl; nothing is open any more."""
        node = self.node
        node.dataplane.expect(3, 30)
        if not node.dataplane.find("uring_shim: "):
            raise Failed("it ended before anything went wrong")
        node.dataplane.wait_line(f"helio-dataplane: {node.log}: log 0: {words}", 1)
        node.controlplane.wait_line(f"critical log_device .*{words}", 10, self.events_seen)
        answer = node.ctl("show", "log")
        if answer["code"] != 4:
            raise Failed(f"helioctl without a dataplane is exit code 4: {answer}")
        events = node.ctl("show", "events")["data"]["events"]
        if not any(event["name"] == "log_device" for event in events):
            raise Failed(f"show events --json has no log_device: {events}")

    def ends(self, name):
        """The next start shows that what was acknowledged is there: the writer holds it to that."""
        rules, words = ENDS[name]
        self.start_for(rules)
        self.more()
        self.events_seen = len(self.node.controlplane.lines)
        self.fail_now()
        self.ended(words)

    def recovery_ends(self, name):
        rules, words = RECOVERY_ENDS[name]
        self.events_seen = len(self.node.controlplane.lines)
        self.start(rules, at_once=True)
        self.ended(words)

    def stays_down(self):
        """The third end within ten minutes says so, and no start after it touches the log until somebody looked."""
        rules, words = RECOVERY_ENDS["recovery_flush_error"]
        text = f"3 ends within 10 min for errors of a log's device: .*{self.node.run}/disk.failures"
        self.start()
        for _ in range(2):
            self.events_seen = len(self.node.controlplane.lines)
            self.start(rules, at_once=True, looked_at=False)
            self.ended(words)
        self.events_seen = len(self.node.controlplane.lines)
        self.start(rules, at_once=True, looked_at=False)
        self.node.dataplane.expect(5, 30)
        self.node.controlplane.wait_line(f"critical disk_failed {text}", 10, self.events_seen)
        self.start(looked_at=False)
        self.node.dataplane.expect(5, 30)
        self.node.dataplane.wait_line(f"helio-dataplane: disk_failed: {text}.* The last: log 0: {words}", 1)
        self.start()
        self.more()

    def short_writes(self):
        """Of each kind once: written again, counted, and all goes on; what was acknowledged is there after a kill."""
        self.start_for("write:3:short,ring:3:short,superblock:1:short")
        self.more()
        self.fail_now()
        self.injected(3)
        self.more()
        wait_until(lambda: self.log()["writes_again"] == 3, 5, f"3 writes again, not {self.log()['writes_again']}")
        self.start()
        self.more()
        self.lives.audit(self.node, self.lives.readers["node"].position()).expect(0, 30)

    def recovery_reads_again(self):
        """Recovery's reads of superblocks, segments and a block fail or are cut short, once each: counted."""
        self.start("read:1:EIO,read:7:short,read:100:EIO", at_once=True)
        self.node.wait_ready(20)
        if self.log()["reads_again"] != 3 or self.log()["unreadable_blocks"] != 0:
            raise Failed(f"3 reads again, and no block stayed unreadable: {self.log()}")
        self.lives.audit(self.node, self.lives.readers["node"].position()).expect(0, 30)

    def reads_again(self):
        """Reads of old writes that fail or are cut short, then don't: nobody notices but the counter."""
        self.start("read:1:EIO,read:3:short,read:5:EIO")
        self.node.wait_ready(20)
        self.fail_now()
        self.lives.audit(self.node, self.lives.readers["node"].position()).expect(0, 30)
        wait_until(lambda: self.log()["reads_again"] == 3, 5, f"3 reads again, not {self.log()['reads_again']}")
        if self.log()["corrupt_writes"] != 0:
            raise Failed(f"what was read in the end is not corrupt: {self.log()}")

    def reads_fail(self):
        """Reads of old writes that go on failing: the reader is told by name, everybody else goes on."""
        self.start("read:1+:EIO")
        self.node.wait_ready(20)
        self.more()  # the reader is among what was written since, and needs no disk
        seen = len(self.node.controlplane.lines)
        self.fail_now()
        audit = self.lives.audit(self.node, self.lives.readers["node"].position())
        audit.expect(1, 30)
        if not audit.find("read of .*: corrupt: "):
            raise Failed("the reader was told something else: " + " | ".join(audit.lines[-3:]))
        self.node.controlplane.wait_line(" read_corrupt ", 10, seen)
        wait_until(lambda: self.log()["corrupt_writes"] > 0, 5, "writes that can't be read are counted")
        self.more()
        self.start()
        self.node.wait_ready(20)
        self.lives.audit(self.node, self.lives.readers["node"].position()).expect(0, 30)

    def bug(self, dataplane):
        """Acknowledged before the flush, which fails, and the device has let go of it."""
        self.more()
        self.start_for(ENDS["lost_and_flush_error"][0], dataplane)
        self.more()
        self.fail_now()
        self.node.dataplane.expect(3, 20)
        self.start()
        writer = self.lives.writer.process
        writer.expect(1, 20)
        if not writer.find("^LOST: "):
            raise Failed("what was acknowledged too early was not missed: " + " | ".join(writer.lines[-3:]))
        say("a dataplane that acknowledges too early is found out: " + writer.find("^LOST: .*").group(0))

    def lost_writes(self):
        """Writes that are acknowledged and not done, found by what is there besides: refused, nothing is changed."""
        self.start_for("write:1+:lost")
        self.more()
        self.fail_now()
        self.more()
        self.lives.writer.process.kill9()
        self.start()
        self.node.dataplane.expect(4, 20)
        self.node.dataplane.wait_line("write of sequence \\d+ at byte \\d+ of the file was durable and is corrupt", 1)

    def run(self, wanted):
        cases = {name: (lambda name=name: self.ends(name)) for name in ENDS}
        cases.update({name: (lambda name=name: self.recovery_ends(name)) for name in RECOVERY_ENDS})
        cases.update({"stays_down": self.stays_down, "short_writes": self.short_writes, "reads_again": self.reads_again,
                      "recovery_reads_again": self.recovery_reads_again,
                      "reads_fail": self.reads_fail})
        self.more()
        for name in wanted or cases:
            cases[name]()
            say(f"{name}: ok")
        self.start()
        self.more()
        self.lives.audit(self.node, self.lives.readers["node"].position()).expect(0, 30)
        self.lost_writes()
        say("lost_writes: ok")


def main():
    programs = [os.path.abspath(path) for path in sys.argv[1:4]]
    with Scratch("helio-faults-") as scratch:
        test = Test(scratch, programs[:2], programs[2])
        if sys.argv[4:5] == ["--bug"]:
            test.bug(os.path.abspath(sys.argv[5]))
        else:
            test.run(sys.argv[4:])


if __name__ == "__main__":
    main()
