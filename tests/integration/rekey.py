#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keys are renewed hundreds of times while a link is full: nothing waits for it, no lane begins anew, every byte
arrives. Then one side is killed between two keys."""
import json
import subprocess
import sys
import threading
import time

from cluster import Failed, Scratch, wait_until
from regions import Pair, program

STREAM = "orders"
RATE = "200m"
MEGABYTES = {"without": 100, "with": 500, "killed": 100}
REKEYS_MIN = 100
SHORT_OF = 5  # --short: a fifth of everything
STALL_SECONDS_MAX = 1.0  # of what B has taken, told each 100 ms: its disk may be slow for longer
GOODPUT_SHARE_MIN = 0.8  # of what it was without


def batches(region):
    """What the log on disk has of the stream: where each batch ends, and its chain over all before."""
    dump = subprocess.run([program("helio-log"), "dump", region.log, "--json"], capture_output=True, text=True,
                          timeout=120)
    found = {}
    for line in dump.stdout.splitlines():
        for batch in json.loads(line).get("batches", []):
            if batch.get("stream") == 1:
                found[batch["lsn_first"]] = (batch["lsn_end"], batch["chain"], batch["verdict"])
    return found


class Watch:
    """Follows what B has taken while a feed runs; remembers the longest time that it stood still."""

    def __init__(self, region):
        self.region = region
        self.position = self.taken()
        self.over = threading.Event()
        self.longest = 0.0
        self.thread = threading.Thread(target=self.run)

    def taken(self):
        return (self.region.stream(STREAM) or {}).get("lsn_end", 0)

    def run(self):
        position, moved = self.position, None  # the time before a feed's first entry is not B's
        while not self.over.is_set():
            now, seen = time.monotonic(), self.taken()
            if seen > position:
                position = seen
                moved = now
            elif moved is not None:
                self.longest = max(self.longest, now - moved)
            self.over.wait(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Test:
    def __init__(self, scratch, share):
        self.share = share
        self.pair = Pair(scratch, rtt_ms=20, loss_percent=0.1, rate=RATE, log_size="512m" if share > 1 else "2g")
        for region in (self.pair.a, self.pair.b):
            with open(region.config, encoding="utf-8") as file:
                text = file.read().replace("postgres-physical", "key-value")
            with open(region.config, "w", encoding="utf-8") as file:
                file.write(text)

    def feed(self, megabytes):
        """Bytes a second from the first append until all is durable in B, and how long B stood still at most."""
        a, b = self.pair.a, self.pair.b
        begin = time.monotonic()
        with Watch(b) as watch:
            done = subprocess.run([program("helio-perf"), "feed", "--run", a.run, "--stream", STREAM,
                                   "--data", "random", "--bytes", f"{megabytes / 1000:g}", "--json"],
                                  capture_output=True, text=True, timeout=200)
            if done.returncode != 0:
                raise Failed(f"helio-perf feed: {done.stdout} {done.stderr}")
            end = json.loads(done.stdout)["metrics"]["lsn_end/data=random"]
            wait_until(lambda: (b.stream(STREAM) or {}).get("lsn_durable", 0) >= end, 120,
                       f"B has everything up to {end}")
        return megabytes * 1e6 / (time.monotonic() - begin), watch.longest

    def run(self):
        a, b = self.pair.a, self.pair.b
        self.pair.start()
        a.wait_up("b", 30)
        b.wait_up("a", 30)
        without, stood = self.feed(MEGABYTES["without"] // self.share)
        print(f"no renewals: {without / 1e6:.1f} MB/s, B stood still {stood:.2f} s at most", flush=True)
        for region, peer in ((a, "b"), (b, "a")):
            answer = region.ctl("set", "peer", peer, "rekey-packets", "256", "rekey-seconds", "1")
            if answer["code"] != 0:
                raise Failed(f"set peer: {answer}")
        streaming = sum("stream_streaming" in line for line in a.dataplane.lines)
        before = a.peer("b")["handshakes"]
        goodput, stood = self.feed(MEGABYTES["with"] // self.share)
        rekeys = a.peer("b")["handshakes"] - before
        print(f"{rekeys} renewals: {goodput / 1e6:.1f} MB/s, B stood still {stood:.2f} s at most", flush=True)
        if rekeys < REKEYS_MIN // self.share:
            raise Failed(f"keys were renewed {rekeys} times only")
        if stood > STALL_SECONDS_MAX:
            raise Failed(f"B stood still for {stood:.2f} s")
        if goodput < GOODPUT_SHARE_MIN * without:
            raise Failed(f"{goodput:.0f} bytes/s with renewals, {without:.0f} without")
        if sum("stream_streaming" in line for line in a.dataplane.lines) != streaming:
            raise Failed("a renewal opened the stream again")
        self.killed()
        self.same()

    def killed(self):
        """B dies in the middle of it; the rest arrives all the same."""
        a, b = self.pair.a, self.pair.b
        feed = threading.Thread(target=lambda: self.feed(MEGABYTES["killed"] // self.share))
        before = a.peer("b")["handshakes"]
        feed.start()
        wait_until(lambda: a.peer("b")["handshakes"] > before + 3, 30, "keys are being renewed")
        b.kill_dataplane()
        b.start_dataplane()
        feed.join()
        end = a.stream(STREAM)["lsn_durable"]
        wait_until(lambda: (b.stream(STREAM) or {}).get("lsn_durable", 0) >= end, 60, "B has the rest")
        print("B was killed between keys: all is there", flush=True)

    def same(self):
        a, b = self.pair.a, self.pair.b
        for region in (a, b):
            region.dataplane.terminate()
        there, here = batches(b), batches(a)
        if len(here) < 100 or here != there:
            differing = {first for first in here.keys() | there.keys() if here.get(first) != there.get(first)}
            raise Failed(f"{len(here)} batches in A, {len(there)} in B, {len(differing)} differ: "
                         f"{sorted(differing)[:5]}")
        print(f"{len(here)} batches are the same in both logs", flush=True)


def main():
    with Scratch() as scratch:
        Test(scratch, SHORT_OF if "--short" in sys.argv[1:] else 1).run()


if __name__ == "__main__":
    main()
