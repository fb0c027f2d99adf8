#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keys of two real nodes: one agreement a start, whoever starts and whatever the other one was doing."""
import time

from cluster import Failed, Scratch, wait_until
from regions import Pair

WATCH_SECONDS = 3  # agreements that are too many come within one


def handshakes(region, other):
    return (region.peer(other) or {}).get("handshakes", 0)


class Test:
    def __init__(self, scratch):
        self.pair = Pair(scratch, rtt_ms=40, loss_percent=0, log_size="256m")

    def agreed(self, wanted, what):
        """Both get to the wanted counts of agreements and stay there."""
        a, b = self.pair.a, self.pair.b
        wait_until(lambda: (handshakes(a, "b"), handshakes(b, "a")) == wanted, 30, f"{what}: agreements {wanted}")
        a.wait_up("b", 30)
        b.wait_up("a", 30)
        until = time.monotonic() + WATCH_SECONDS

        def watched():
            counts = handshakes(a, "b"), handshakes(b, "a")
            if counts != wanted:
                raise Failed(f"{what}: {counts} agreements, not {wanted}")
            return time.monotonic() >= until

        wait_until(watched, 30, "the counts are watched")
        print(f"{what}: agreements {wanted}", flush=True)

    def starts(self):
        a, b = self.pair.a, self.pair.b
        self.pair.start()
        self.agreed((1, 1), "both start")
        a.kill_dataplane()
        a.start_dataplane()
        self.agreed((1, 2), "a starts again")
        b.kill_dataplane()
        wait_until(lambda: a.peer("b")["state"] == "down", 20, "a finds that b is silent")
        b.start_dataplane()
        self.agreed((2, 1), "b starts again after a silence")


def main():
    with Scratch() as scratch:
        test = Test(scratch)
        test.starts()


if __name__ == "__main__":
    main()
