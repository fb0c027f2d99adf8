#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""DPDK's telemetry socket says what helioctl says: ports, lanes, streams and drops of two real nodes."""
import glob
import json
import os
import socket

from cluster import Failed, Scratch, wait_until
from regions import Pair


class Telemetry:
    """A client of a dataplane's socket, as dpdk-telemetry.py is."""

    def __init__(self, region):
        path = os.path.join(region.run, "dpdk", f"helio-dataplane-{region.dataplane.pid}", "dpdk_telemetry.v2")
        found = wait_until(lambda: glob.glob(path + "*"), 10, f"{path} is there")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        self.socket.connect(found[0])
        self.pid = json.loads(self.socket.recv(65536))["pid"]

    def ask(self, command):
        self.socket.send(command.encode())
        return json.loads(self.socket.recv(65536))[command.split(",")[0]]


def differences(telemetry, shown):
    """What both sources name and tell differently."""
    wrong = []
    for command, view in (("ports", "ports"), ("lanes", "peers"), ("streams", "streams")):
        names = telemetry.ask(f"/heliograph/{command}")
        if names != [thing["name"] for thing in shown[view]]:
            wrong.append((command, names))
            continue
        for thing in shown[view]:
            told = telemetry.ask(f"/heliograph/{command},{thing['name']}")
            same = [key for key in told if key in thing and key not in ("state", "link_up", "opened")]
            if len(same) < 6:
                raise Failed(f"{command}: only {same} can be compared of {sorted(told)} and {sorted(thing)}")
            wrong += [(command, key, told[key], thing[key]) for key in same if told[key] != thing[key]]
    drops = {(where, name, count) for where in telemetry.ask("/heliograph/drops")
             for name, count in (telemetry.ask(f"/heliograph/drops,{where}") or {}).items()}
    counted = {(drop["where"], drop["name"], drop["count"]) for drop in shown["drops"] if drop["count"]}
    if drops != counted or not drops:
        wrong.append(("drops", drops, counted))
    return wrong


def main():
    with Scratch() as scratch:
        pair = Pair(scratch, rtt_ms=2, loss_percent=0, log_size="64m")
        pair.start()
        pair.a.wait_up("b", 30)
        pair.b.wait_up("a", 30)
        pair.a.wait_ready(30)
        telemetry = Telemetry(pair.a)
        if telemetry.pid != pair.a.dataplane.pid:
            raise Failed(f"the socket is that of process {telemetry.pid}")
        for command in ("ports", "lanes", "streams", "drops"):
            if telemetry.ask(f"/heliograph/{command},nobody") is not None:
                raise Failed(f"{command} of nobody are answered")
        if "/heliograph/drops" not in telemetry.ask("/"):
            raise Failed("the commands are not among those that DPDK lists")
        # A second start of B with the same log: what it sends under the keys of before makes A count drops.
        pair.b.kill_dataplane()
        wait_until(lambda: pair.a.peer("b")["state"] == "down", 20, "a finds that b is silent")
        pair.b.start_dataplane()
        pair.a.wait_up("b", 30)
        # Pages are 100 ms apart and traffic goes on: the two must agree on one page within the deadline.
        last = []

        def agree():
            shown = pair.a.show()
            last[:] = differences(telemetry, shown) if shown else ["no answer of helioctl"]
            return not last

        try:
            wait_until(agree, 20, "telemetry and helioctl agree")
        except Failed as late:
            raise Failed(f"{late}: {last[:6]}") from late
        print("ports, lanes, streams and drops: telemetry says what helioctl says", flush=True)


if __name__ == "__main__":
    main()
