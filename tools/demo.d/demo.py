# SPDX-License-Identifier: Apache-2.0
"""The main job: see tools/demo --help."""
import argparse
import filecmp
import json
import os
import re
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "integration"))
from cluster import Failed, Postgres, Scratch, wait_until  # noqa: E402
from regions import Pair  # noqa: E402

SEGMENT_NAME = re.compile(r"^[0-9A-F]{24}$")
CUT_SECONDS = 5
DOWN_SECONDS = 2


def say(text):
    clear = "\r\033[K" if sys.stdout.isatty() else ""
    print(f"{clear}{text}", flush=True)


class Progress(threading.Thread):
    """One line, renewed: what the primary writes, what B has, how far behind it is."""

    def __init__(self, pair, primary):
        super().__init__(daemon=True)
        self.pair = pair
        self.primary = primary
        self.over = threading.Event()
        self.began = time.monotonic()
        self.lag_max_bytes = 0
        self.ratio = 0.0
        self.resent_bytes = 0
        self.last = None

    def run(self):
        period = 1.0 if sys.stdout.isatty() else 5.0
        while not self.over.wait(period):
            self.show(self.pair.a.stream("orders"), self.pair.a.peer("b"))

    def show(self, stream, peer):
        now = time.monotonic()
        clock = f"{now - self.began:5.0f} s"
        if not stream or not peer or not stream.get("peers") or "lsn_durable" not in stream:
            return self.line(f"{clock}  A is restarting: the primary waits, nothing is lost")
        end, durable = stream["lsn_durable"], stream["peers"][0]["lsn_durable"]
        lag_bytes = stream["peers"][0]["lag_bytes"]
        self.lag_max_bytes = max(self.lag_max_bytes, lag_bytes)
        if stream["stored_bytes"]:
            self.ratio = stream["raw_bytes"] / stream["stored_bytes"]
        speed = 0.0
        if self.last and now > self.last[0] and end >= self.last[1]:
            speed = (end - self.last[1]) / (now - self.last[0]) / 1e6
        self.last = (now, end)
        place = f"{durable >> 32:X}/{durable & 0xffffffff:08X}"
        self.line(f"{clock}  link {peer['state']:<9} WAL {speed:6.1f} MB/s  durable in B {place}"
                  f"  behind {lag_bytes / 1e6:7.2f} MB {stream['peers'][0]['lag_ns'] / 1e9:6.2f} s"
                  f"  ratio {self.ratio:4.1f}  rtt {peer['srtt_ns'] / 1e6:5.1f} ms")

    @staticmethod
    def line(text):
        if sys.stdout.isatty():
            print(f"\r\033[K{text}", end="", flush=True)
        else:
            print(text, flush=True)

    def stop(self):
        self.over.set()
        self.join()


class Demo:
    def __init__(self, scratch, options):
        self.scratch = scratch
        self.options = options
        self.began = time.monotonic()
        self.primary = Postgres(scratch, "primary")
        self.out = scratch.directory("segments")
        self.result = {"rtt_ms": options.rtt, "loss_percent": options.loss, "load_s": options.seconds}

    def build(self):
        say(f"primary: initdb, pgbench -i -s {self.options.scale}, WAL archived by copy")
        self.primary.init(archive=True, settings={"max_wal_size": "'4GB'", "synchronous_commit": "on"})
        self.primary.start()
        self.primary.pgbench("-i", "-q", "-s", self.options.scale).expect(0, 120)
        say(f"regions A and B, {self.options.rtt:g} ms apart, {self.options.loss:g} % loss each way, 1 Gbit/s")
        self.pair = Pair(self.scratch, self.options.rtt, self.options.loss)
        self.pair.start()
        self.reader = self.pair.b.postgres_out("orders", self.out)
        self.writer = self.pair.a.postgres_in("orders", self.primary.conninfo())
        self.pair.a.wait_up("b", 30)
        wait_until(lambda: (self.pair.a.stream("orders") or {}).get("lsn_durable"), 30, "WAL arrives in A")
        self.backup = os.path.join(self.primary.root, "base")
        self.primary.base_backup(self.backup)

    def at(self, start, seconds):
        wait_until(lambda: time.monotonic() >= start + seconds, seconds + 60, "the next act")

    def load(self):
        seconds = self.options.seconds
        progress = Progress(self.pair, self.primary)
        wal_start = self.wal_bytes()
        bench = self.primary.pgbench("-c", "4", "-j", "1", "-T", seconds)
        start = time.monotonic()
        progress.start()
        self.at(start, seconds * 0.15)
        say("--- kill -9 the dataplane of B")
        self.pair.b.kill_dataplane()
        self.at(start, seconds * 0.15 + DOWN_SECONDS)
        self.pair.b.start_dataplane()
        self.at(start, seconds * 0.4)
        say("--- kill -9 the dataplane of A")
        self.pair.a.kill_dataplane()
        self.at(start, seconds * 0.4 + DOWN_SECONDS)
        self.pair.a.start_dataplane()
        self.at(start, seconds * 0.65)
        say(f"--- cut the link for {CUT_SECONDS} s")
        self.pair.wan.cut()
        self.at(start, seconds * 0.65 + CUT_SECONDS)
        self.pair.wan.restore()
        say("--- the link is back")
        bench.expect(0, seconds + 60)
        self.result["wal_bytes"] = self.wal_bytes() - wal_start
        self.result["wal_bytes_per_s"] = round(self.result["wal_bytes"] / (time.monotonic() - start))
        self.result["tps"] = float(bench.find(r"^tps = ([0-9.]+)").group(1))
        return progress

    def wal_bytes(self):
        return int(self.primary.psql("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"))

    def drain(self, progress):
        self.sums = self.primary.sums()
        self.last_segment = self.primary.switch_wal()
        began = time.monotonic()
        wait_until(lambda: os.path.exists(os.path.join(self.out, self.last_segment)), 120,
                   f"B has {self.last_segment}, complete")
        self.result["drain_s"] = round(time.monotonic() - began, 2)
        wait_until(lambda: os.path.exists(os.path.join(self.primary.archive, self.last_segment)), 60,
                   "the primary archives its last segment")
        progress.stop()
        self.result["lag_max_bytes"] = progress.lag_max_bytes
        self.result["compression_ratio"] = round(progress.ratio, 2)

    def compare_segments(self):
        names = sorted(name for name in os.listdir(self.out) if SEGMENT_NAME.match(name))
        for name in names:
            theirs = os.path.join(self.primary.archive, name)
            if not os.path.exists(theirs) or not filecmp.cmp(os.path.join(self.out, name), theirs, shallow=False):
                raise Failed(f"segment {name} in B differs from the primary's archive")
        self.result["segments_equal"] = len(names)
        say(f"{len(names)} segments in B are byte for byte the primary's")

    def restore(self):
        user = self.primary.user
        if user is not None:
            os.chmod(self.out, 0o755)
            for name in os.listdir(self.out):
                os.chmod(os.path.join(self.out, name), 0o644)
        say("restore: base backup and B's segments into a stock PostgreSQL")
        restored = self.primary.restored("restored", self.backup, f"cp {self.out}/%f %p")
        restored.start(60)
        wait_until(lambda: restored.psql("SELECT pg_is_in_recovery()") == "f", 60, "recovery ends")
        sums = restored.sums()
        if sums != self.sums:
            raise Failed(f"the restored tables differ: {sums} instead of {self.sums}")
        self.result["tables_equal"] = len(sums)
        for table, line in sorted(sums.items()):
            say(f"  {table:<24} {line.split('|')[0]:>9} rows  md5 {line.split('|')[1]}  equal")
        restored.stop()

    def report(self):
        result = self.result
        result["seconds"] = round(time.monotonic() - self.began, 1)
        say(f"measured: {result['wal_bytes'] / 1e6:.0f} MB of WAL at {result['wal_bytes_per_s'] / 1e6:.1f} MB/s "
            f"({result['tps']:.0f} transactions/s), compressed {result['compression_ratio']:.1f} : 1, B at most "
            f"{result['lag_max_bytes'] / 1e6:.1f} MB behind, all there {result['drain_s']:.1f} s after the end")

    def run(self):
        self.build()
        progress = self.load()
        self.drain(progress)
        self.compare_segments()
        self.restore()
        self.writer.terminate()
        self.reader.terminate()
        self.report()


def main():
    parser = argparse.ArgumentParser(prog="tools/demo")
    parser.add_argument("--rtt", type=float, default=80)
    parser.add_argument("--loss", type=float, default=0.1)
    parser.add_argument("--seconds", type=int, default=45)
    parser.add_argument("--scale", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    if options.seconds < 20 or options.scale < 1 or options.rtt < 0 or not 0 <= options.loss < 50:
        parser.error("--seconds must be 20 or more, --scale 1 or more, --rtt 0 or more, --loss 0 to 50")
    try:
        with Scratch("helio-demo-") as scratch:
            demo = Demo(scratch, options)
            demo.run()
            if options.keep:
                say(f"kept: {scratch.path}")
                scratch.path += ".gone"
    except Failed as failure:
        say(f"demo: FAILED: {failure}")
        return 1
    if options.json:
        say(json.dumps(demo.result))
    say("demo: OK")
    return 0


if __name__ == "__main__":
    sys.exit(main())
