#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Errors of a real block device under a log: a write that fails, a flush that fails, a read that fails in recovery.

The log lies on a zram device whose memory is limited: zeros cost it nothing, so it takes the empty log, then data for a
while, then the kernel fails every write with EIO. A loop device on top of it keeps writes in its cache and fails at
the flush instead, as a disk with a volatile cache does. (A loop device over a full file system won't do for writes: it
takes a short write for a whole one.) Reads past the end of a loop device's file that was cut short fail with EIO.
`device_errors.py CASE...` runs only these."""
import contextlib
import errno
import os
import subprocess
import sys

from cluster import Failed, Scratch, skip, wait_until
from flow import STREAM, Flow, lsn, say
from log_image import SEGMENTS_OFFSET
from regions import Region, program

LOG_MIB = 96
ROOM_BYTES = 3 << 20
ZRAM_CONTROL = "/sys/class/zram-control"


def tool(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout.strip()


def kernel_write(path, value):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(value))


class Device:
    """A block device with an empty log on it. `path` is a link to it, whatever its number is now."""

    def __init__(self, scratch, name):
        self.path = os.path.join(scratch.path, name + "-device")
        self.new_log = os.path.join(scratch.path, name + "-new")
        self.processes = scratch.processes
        self.loops = []

    def __enter__(self):
        if os.geteuid() != 0:
            skip("needs root to make block devices")
        tool(program("helio-log"), "create", self.new_log, "--size", f"{LOG_MIB}m", "--cluster", 7)
        return self

    def __exit__(self, kind, value, trace):
        for process in reversed(self.processes):
            process.kill9()
        self.detach()

    def loop(self, under):
        done = subprocess.run(["losetup", "--find", "--show", under], capture_output=True, text=True)
        if done.returncode != 0:
            skip(f"no loop device can be made here: {done.stderr.strip()}")
        self.loops.append(done.stdout.strip())
        return self.loops[-1]

    def link(self, target):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        os.symlink(target, self.path)

    def detach(self):
        """With a loop device goes its cache: what was not written is lost, as at a power cut."""
        while self.loops:
            subprocess.run(["losetup", "--detach", self.loops.pop()], check=False)


class LimitedDevice(Device):
    """zram: takes so much more after limit(), until unlimit(). `cached`: under a loop device with a cache."""

    def __init__(self, scratch, name, cached):
        super().__init__(scratch, name)
        self.cached = cached
        self.number = None

    def __enter__(self):
        super().__enter__()
        if not os.access(os.path.join(ZRAM_CONTROL, "hot_add"), os.R_OK):
            skip("no zram here (modprobe zram)")
        with open(os.path.join(ZRAM_CONTROL, "hot_add"), encoding="ascii") as file:
            self.number = int(file.read())
        kernel_write(self.of("disksize"), LOG_MIB << 20)
        tool("dd", f"if={self.new_log}", f"of={self.disk()}", "bs=1M", "oflag=direct")
        self.link(self.loop(self.disk()) if self.cached else self.disk())
        return self

    def __exit__(self, kind, value, trace):
        super().__exit__(kind, value, trace)
        if self.number is not None:
            wait_until(self.removed, 10, f"nobody uses {self.disk()} any more")

    def removed(self):
        """False while a killed process's last request still holds it."""
        try:
            kernel_write(os.path.join(ZRAM_CONTROL, "hot_remove"), self.number)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    def of(self, name):
        return f"/sys/block/zram{self.number}/{name}"

    def disk(self):
        return f"/dev/zram{self.number}"

    def limit(self):
        with open(self.of("mm_stat"), encoding="ascii") as file:
            used = int(file.read().split()[2])
        kernel_write(self.of("mem_limit"), used + ROOM_BYTES)

    def unlimit(self):
        kernel_write(self.of("mem_limit"), 0)

    def cache_lost(self):
        if self.cached:
            self.detach()
            tool("blockdev", "--flushbufs", self.disk())
            self.link(self.loop(self.disk()))


class ShortenedDevice(Device):
    """A loop device over a file that can be cut short below it."""

    def __enter__(self):
        super().__enter__()
        self.link(self.loop(self.new_log))
        return self

    def cut(self):
        tool("cp", self.new_log, self.new_log + ".whole")
        os.truncate(self.new_log, SEGMENTS_OFFSET)

    def whole(self):
        tool("dd", f"if={self.new_log}.whole", f"of={self.new_log}", "bs=1M", "conv=notrunc")


class Test:
    def __init__(self, scratch, name, device):
        self.name = name
        self.device = device
        self.node = Region(scratch, f"node-{name}", 1, "stream add orders id 1 kind postgres-physical region 1\n"
                                                       "consumer add segments stream orders\n", log=False)
        with open(self.node.config, encoding="utf-8") as config:
            text = config.read().replace(self.node.log, self.device.path)
        with open(self.node.config, "w", encoding="utf-8") as config:
            config.write(text)
        self.flow = None
        self.scratch = scratch

    def begin(self):
        self.node.start()
        self.flow = Flow(self.scratch, self.node, self.node)
        self.flow.begin(scale=1)

    def acknowledged(self):
        """What the primary was told is safe: the highest of what it shows, and of the slot."""
        row = self.flow.primary.psql("SELECT max(flush_lsn) FROM pg_stat_replication WHERE application_name = "
                                     "'helio-postgres'")
        return max(self.flow.slot()[0], lsn(row) if row else 0)

    def write_fails(self, words):
        """Under load until the device fails: exit 3, named; nothing is acknowledged from then on; the disk is read anew
        and holds all that ever was."""
        flow, node = self.flow, self.node
        flow.load_start()
        self.device.limit()
        highest = 0

        def ended():
            nonlocal highest
            highest = max(highest, self.acknowledged())
            flow.wal_write(128 << 10)
            return not node.dataplane.alive()

        wait_until(ended, 60, "the device fails")
        node.dataplane.expect(3, 10)
        node.dataplane.wait_line(f"helio-dataplane: {self.device.path}: log 0: {words}", 1)
        node.controlplane.wait_line(f"critical log_device .*{words}", 10)
        flow.writer.wait_line("dataplane_gone", 10)
        highest = max(highest, self.acknowledged())
        flow.wal_grows(512 << 10)
        if self.acknowledged() > highest:
            raise Failed("acknowledged after the device failed")
        self.device.unlimit()
        if self.device.cached:
            self.goes_on_before_the_cache_is_lost()
        flow.writer.terminate()
        flow.reader.terminate()
        highest = max(highest, self.acknowledged())
        node.dataplane.kill9()
        self.device.cache_lost()
        node.start_dataplane()
        node.wait_ready(20)
        wait_until(lambda: node.stream(STREAM)["state"] == "open", 20, "the stream is open")
        if flow.durable() < highest:
            raise Failed(f"acknowledged up to {highest:X}, there is only {flow.durable():X}")
        say(f"{self.name}: acknowledged {highest:X}, on the disk {flow.durable():X}")
        flow.start_in()
        flow.start_out()
        flow.writer.wait_line("streaming", 20)
        flow.wal_grows(1 << 20)
        flow.finish()
        flow.primary_stops()

    def goes_on_before_the_cache_is_lost(self):
        """There is room again, but what failed to flush is still readable from the cache, as clean as if it were on
        the disk: the kernel doesn't write it a second time. A recovery that takes it for durable loses it with the
        cache."""
        self.node.start_dataplane()
        self.node.wait_ready(20)
        self.flow.writer.wait_line("dataplane_back", 20)
        self.flow.durable_moves()

    def read_fails(self):
        """Recovery can't read the log: named, nothing changed, and the same log opens when the device reads again."""
        flow, node = self.flow, self.node
        flow.writer.terminate()
        flow.reader.terminate()
        before = flow.durable()
        node.dataplane.terminate()
        self.device.cut()
        node.start_dataplane()
        node.dataplane.expect(3, 20)
        node.dataplane.wait_line(f"helio-dataplane: {self.device.path}: .*read.*Input/output error", 1)
        self.device.whole()
        node.start_dataplane()
        node.wait_ready(20)
        wait_until(lambda: flow.durable() == before, 20, "all of it is there again")
        flow.start_in()
        flow.start_out()
        flow.finish()
        flow.primary_stops()


WRITE_FAILS = "(write of sequence|header ring copy of write) \\d+: Input/output error; nothing after it was ackno"
FLUSH_FAILS = "flush after write \\d+: Input/output error; writes after \\d+ are not acknowledged"
CASES = {
    "write": (lambda scratch: LimitedDevice(scratch, "write", False), lambda test: test.write_fails(WRITE_FAILS)),
    "flush": (lambda scratch: LimitedDevice(scratch, "flush", True), lambda test: test.write_fails(FLUSH_FAILS)),
    "read": (lambda scratch: ShortenedDevice(scratch, "read"), lambda test: test.read_fails()),
}


def main():
    for name in sys.argv[1:] or CASES:
        make, run = CASES[name]
        with Scratch("helio-device-") as scratch, make(scratch) as device:
            test = Test(scratch, name, device)
            test.begin()
            run(test)
        say(f"{name}: ok")


if __name__ == "__main__":
    main()
