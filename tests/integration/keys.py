#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keys of two real nodes: one agreement a start, whoever starts and whatever the other one was doing; another shared
key and a removed peer take effect in a running dataplane."""
import os
import secrets
import time

from cluster import Failed, Scratch, wait_until
from regions import Pair, write

WATCH_SECONDS = 3  # agreements that are too many come within one


def handshakes(region, other):
    return (region.peer(other) or {}).get("handshakes", 0)


def drops(region):
    shown = region.show() or {"drops": []}
    return {f"{drop['where']} {drop['name']}": drop["count"] for drop in shown["drops"]}


class Test:
    def __init__(self, scratch):
        self.scratch = scratch
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


    def another_key(self):
        """The file that both sides read is replaced."""
        path = os.path.join(self.scratch.path, "link.key")
        write(path + ".new", secrets.token_hex(32) + "\n", 0o600)
        os.rename(path + ".new", path)
        self.agreed((3, 2), "another shared key")
        for region in (self.pair.a, self.pair.b):
            region.dataplane.wait_line("peer_key_changed", 5)
            if region.dataplane.find("peer_key_over"):
                raise Failed("the session was ended though both sides had the new key")

    def peer_removed(self):
        """A new configuration without the peer, and one with it again."""
        a = self.pair.a
        with open(a.config, encoding="utf-8") as file:
            lines = file.readlines()
        write(a.config, "".join(line for line in lines if "peer add b" not in line and "replicate" not in line))
        a.controlplane.terminate()
        a.start_controlplane()
        self.removed(1)
        write(a.config, "".join(lines))
        a.controlplane.terminate()
        a.start_controlplane()
        self.back("peer missing from a new configuration, and back")
        for words, code in ((["peer", "remove", "nobody"], 1), (["peer", "remove", "b", "--dry-run"], 0),
                            (["peer", "remove", "b"], 0)):
            answer = a.ctl(*words)
            if answer["code"] != code:
                raise Failed(f"{words}: {answer}")
            if code == 0 and "--dry-run" in words and (a.peer("b") or {}).get("state") != "up":
                raise Failed("--dry-run removed the peer")
        self.removed(2)
        a.controlplane.terminate()
        a.start_controlplane()
        self.back("peer removed by command, and back")

    def removed(self, times):
        a, b = self.pair.a, self.pair.b
        wait_until(lambda: sum("peer_removed" in line for line in a.dataplane.lines) == times, 20,
                   "the peer is removed")
        before = drops(a).get("link drop_peer_removed", 0)
        wait_until(lambda: drops(a).get("link drop_peer_removed", 0) > before, 20, "its packets are dropped by name")
        if a.peer("b"):
            raise Failed(f"a still shows {a.peer('b')}")
        wait_until(lambda: b.peer("a")["state"] == "down", 20, "b finds that a is silent")

    def back(self, what):
        self.pair.a.wait_up("b", 30)
        self.pair.b.wait_up("a", 30)
        print(f"{what}: up again", flush=True)


def main():
    with Scratch() as scratch:
        test = Test(scratch)
        test.starts()
        test.another_key()
        test.peer_removed()


if __name__ == "__main__":
    main()
