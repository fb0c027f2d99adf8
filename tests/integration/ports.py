#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kinds of ports between two real nodes: what one appends becomes durable at the other. Kernel interfaces in
namespaces of the test's own, peers found by ARP and Neighbour Discovery, across a router, in a VLAN, with large
frames, after a link was down. A case that this machine can't do says why and is skipped."""
import ctypes
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys

from cluster import Failed, Process, Scratch, skip, wait_until
from regions import Region, Wan, write

CLONE_NEWNET = 0x40000000
ENTRIES = 2000
# An echo request and its answer, by a socket that the kernel gives to root.
PING = """
import socket, struct, sys
six = ":" in sys.argv[1]
s = socket.socket(*((socket.AF_INET6, socket.SOCK_RAW, 58) if six else (socket.AF_INET, socket.SOCK_RAW, 1)))
s.settimeout(5)
data = b"heliograph is there"
head = struct.pack(">BBHHH", 128 if six else 8, 0, 0, 77, 1)
total = sum(struct.unpack(">14H", head + data + bytes(1)))
total = ~((total & 0xffff) + (total >> 16)) & 0xffff
s.sendto(head[:2] + (head[2:4] if six else struct.pack(">H", total)) + head[4:] + data, (sys.argv[1], 0))
while True:
    got, sender = s.recvfrom(2048)
    got = got if six else got[20:]
    if sender[0] == sys.argv[1] and got[0] == (129 if six else 0) and got[8:] == data:
        break
"""


class Skipped(Exception):
    pass


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Namespace:
    """A network namespace that lives as long as its process; its interfaces go with it."""

    def __init__(self, scratch, name):
        self.process = Process(scratch, name, ["unshare", "--net", "sleep", "600"])
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{self.process.pid}/ns/net") != own, 5, f"namespace {name} is there")

    def run(self, *words):
        return run("nsenter", "-t", str(self.process.pid), "-n", *words)


def veth(one, other, mtu=1500):
    run("ip", "link", "add", one, "mtu", str(mtu), "type", "veth", "peer", "name", other, "mtu", str(mtu))
    for name in (one, other):
        run("ip", "link", "set", name, "up")


class Nodes:
    """A and B, each with a port and a peer as the two templates say: {own}, {other} are 1 and 2."""

    def __init__(self, scratch, example, port, peer):
        self.scratch, self.example = scratch, example
        key = write(os.path.join(scratch.path, "link.key"), secrets.token_hex(32) + "\n", 0o600)

        def node(name, own):
            numbers = {"own": own, "other": 3 - own, "side": "ab"[own - 1]}
            text = (f"port add w {port.format(**numbers)}\n"
                    f"peer add {'ab'[2 - own]} node {3 - own} region {3 - own} {peer.format(**numbers)} port w "
                    f"key {key}\nstream add words id 1 kind key-value region 1\n")
            return Region(scratch, name, own, text + ("stream replicate words b\n" if own == 1 else ""), "64m")

        self.a, self.b = node("a", 1), node("b", 2)

    def start(self):
        for node in (self.a, self.b):
            node.start_dataplane()
        while self.fanout_is_shared():
            self.b.kill_dataplane()
            self.b.start_dataplane()
        for node in (self.a, self.b):
            node.start_controlplane()

    def fanout_is_shared(self):
        """Two af_packet ports of one namespace would want one fanout group (docs/operations.md, What devices do)."""
        index = dict((name, number) for number, name in socket.if_nameindex())
        return "hga" in index and "hgb" in index and (
            self.a.dataplane.pid ^ index["hga"]) & 0xffff == (self.b.dataplane.pid ^ index["hgb"]) & 0xffff

    def connected(self):
        self.a.wait_up("b", 30)
        self.b.wait_up("a", 30)

    def carries(self):
        """What the example appends at A is durable at B."""
        before = (self.a.stream("words") or {}).get("lsn_durable", 0)
        producer = Process(self.scratch, "example", [self.example, self.a.run, "words", ENTRIES])
        producer.expect(0, 30)
        for node in (self.a, self.b):
            wait_until(lambda at=node: (at.stream("words") or {}).get("lsn_durable", 0) >= before + ENTRIES, 20,
                       f"{node.name} has all of it")

    def drops(self, node, where):
        return {drop["name"]: drop["count"] for drop in node.show()["drops"]
                if drop["where"] == where and drop["count"]}

    def events(self, node):
        return [event["name"] for event in node.show()["events"]]


def nodes_over(scratch, example, port, peer):
    nodes = Nodes(scratch, example, port, peer)
    nodes.start()
    nodes.connected()
    nodes.carries()
    return nodes


def found_on_the_link(scratch, example, address, more="", mtu=1500):
    veth("hga", "hgb", mtu)
    nodes = nodes_over(scratch, example, f"af_packet hg{{side}} address {address} mtu {mtu} {more}",
                       f"address {address.split('/')[0].replace('own', 'other')}")
    for node in (nodes.a, nodes.b):
        if nodes.drops(node, "neighbours").get("drop_malformed"):
            raise Failed(f"neighbours: {nodes.drops(node, 'neighbours')}")
    return nodes


def case_af_packet_ipv4(scratch, example):
    nodes = found_on_the_link(scratch, example, "10.0.0.{own}/24")
    run("ip", "link", "set", "hgb", "down")
    wait_until(lambda: (nodes.a.peer("b") or {}).get("state") == "down", 30, "the peer is down with its link")
    run("ip", "link", "set", "hgb", "up")
    nodes.connected()
    nodes.carries()


def case_af_packet_ipv6(scratch, example):
    found_on_the_link(scratch, example, "fd00::{own}/64")


def case_af_packet_vlan(scratch, example):
    found_on_the_link(scratch, example, "10.0.0.{own}/24", "vlan 42")


def large(nodes):
    """Packets above 1500 bytes cross: the path MTU is the port's and entries arrive."""
    wait_until(lambda: (nodes.a.peer("b") or {}).get("path_mtu_bytes") == 9000, 20, "the path carries 9000 bytes")
    shown = nodes.a.show()["ports"][0]
    if shown["tx_bytes"] / max(shown["tx_packets"], 1) < 60:
        raise Failed(f"{shown}")


def case_af_packet_mtu_9000(scratch, example):
    nodes = found_on_the_link(scratch, example, "10.0.0.{own}/24", mtu=9000)
    large(nodes)


def case_af_packet_mtu_9000_ipv6(scratch, example):
    nodes = found_on_the_link(scratch, example, "fd00::{own}/64", mtu=9000)
    large(nodes)


def across_router(scratch, gateways, bits, forwarding):
    router = Namespace(scratch, "router")
    for side, gateway in zip("ab", gateways):
        veth(f"hg{side}", f"hgr{side}")
        run("ip", "link", "set", f"hgr{side}", "netns", str(router.process.pid))
        router.run("ip", "address", "add", f"{gateway}/{bits}", "dev", f"hgr{side}",
                   *(["nodad"] if ":" in gateway else []))
        router.run("ip", "link", "set", f"hgr{side}", "up")
    router.run("sh", "-c", f"echo 1 > /proc/sys/net/{forwarding}")
    return router


def case_router_ipv4(scratch, example):
    router = across_router(scratch, ("10.0.1.254", "10.0.2.254"), 24, "ipv4/ip_forward")
    nodes_over(scratch, example, "af_packet hg{side} address 10.0.{own}.1/24 gateway 10.0.{own}.254",
               "address 10.0.{other}.1")
    router.run(sys.executable, "-c", PING, "10.0.1.1")


def case_router_ipv6(scratch, example):
    router = across_router(scratch, ("fd00:0:0:1::254", "fd00:0:0:2::254"), 64, "ipv6/conf/all/forwarding")
    nodes_over(scratch, example, "af_packet hg{side} address fd00:0:0:{own}::1/64 gateway fd00:0:0:{own}::254",
               "address fd00:0:0:{other}::1")
    router.run(sys.executable, "-c", PING, "fd00:0:0:1::1")


def marked_on_the_way(scratch, example, address):
    """A queue of helio-wan marks what A sends: B sees each mark, A is told of each and trusts the counts. Told not to
    mark its packets, A does so at once, and nothing can be marked."""
    wan = Wan(scratch, rtt_ms=2, loss_percent=0)
    wan.start()
    wan.command("link set a b delay 1ms rate 4m queue 4m ecn 4k")
    nodes = nodes_over(scratch, example,
                       f"memif socket {wan.run}/memif-{{side}}.sock id 0 mac 02:00:00:00:00:0{{side}} "
                       f"address {address}",
                       f"address {address.split('/')[0].replace('own', 'other')} rate 400m")

    def marks():
        told, seen = nodes.a.peer("b"), nodes.b.peer("a")
        made = next(link["marked"] for link in wan.links() if (link["from"], link["to"]) == ("a", "b"))
        if told["ecn_failed"] + seen["ecn_failed"] or told["ecn"] != "on":
            raise Failed(f"counts of an honest peer are not believed: {told} {seen}")
        return made if 0 < made == seen["ecn_marked"] == told["ecn_marked_there"] else 0

    made = wait_until(marks, 20, "helio-wan, B and A agree about how many packets were marked")
    lanes = nodes.a.show()["lanes"]
    if [lane["ecn"] for lane in lanes] != ["on"] or lanes[0]["ecn_marked_there"] < made:
        raise Failed(f"show lanes has not the marks: {lanes}")
    if nodes.a.ctl("set", "peer", "b", "ecn", "off")["code"] != 0:
        raise Failed("set peer b ecn off is refused")
    wait_until(lambda: nodes.a.peer("b")["ecn"] == "off", 10, "show peers says that A marks no packets")
    before = nodes.a.peer("b")["ecn_sent"], nodes.b.peer("a")["ecn_marked"]
    nodes.carries()
    if (nodes.a.peer("b")["ecn_sent"], nodes.b.peer("a")["ecn_marked"]) != before:
        raise Failed("packets are marked though A was told not to send any that can be")


def case_wan_ecn_ipv4(scratch, example):
    marked_on_the_way(scratch, example, "10.0.0.{own}/24")


def case_wan_ecn_ipv6(scratch, example):
    marked_on_the_way(scratch, example, "fd00::{own}/64")


def case_tap_bridge(scratch, example):
    run("ip", "link", "add", "hgbr", "type", "bridge")
    run("ip", "link", "set", "hgbr", "up")
    nodes = Nodes(scratch, example, "tap hgt{side} address 10.0.0.{own}/24", "address 10.0.0.{other}")
    nodes.start()
    for name in ("hgta", "hgtb"):
        wait_until(lambda tap=name: tap in run("ip", "-o", "link"), 20, f"the tap {name} is there")
        run("ip", "link", "set", name, "master", "hgbr")
        run("ip", "link", "set", name, "up")
    nodes.connected()
    nodes.carries()


def case_af_xdp(scratch, example):
    veth("hga", "hgb")
    nodes = Nodes(scratch, example, "af_xdp hg{side} address 10.0.0.{own}/24", "address 10.0.0.{other}")
    nodes.start()
    port = wait_until(lambda: next(iter((nodes.a.show() or {"ports": []})["ports"]), None), 20, "the port is shown")
    if port["state"] == "closed":
        raise Skipped(f"af_xdp: {port['problem']}; {eal_said(nodes.a)}")
    nodes.connected()
    nodes.carries()


def eal_said(node):
    log = next(name for name in os.listdir(node.run) if name.endswith("-eal.log"))
    with open(os.path.join(node.run, log), encoding="utf-8") as lines:
        return " / ".join(line.strip() for line in lines.readlines()[-3:])


def case_pcap(scratch, example):
    """A port that writes what it sends: tshark reads the handshake that nobody answers."""
    if shutil.which("tshark") is None:
        raise Skipped("tshark is not installed")
    nodes = Nodes(scratch, example, f"pcap {scratch.path}/{{side}}.pcap mac 02:00:00:00:00:0{{own}} "
                  "address 10.0.0.{own}/24", "address 10.0.0.{other} mac 02:00:00:00:00:0{other}")
    nodes.a.start()

    def hellos():
        done = subprocess.run(["tshark", "-n", "-r", f"{scratch.path}/a.pcap", "-Y", "udp.dstport == 47000", "-T",
                               "fields", "-e", "ip.dst"], capture_output=True, text=True, timeout=30)
        return done.stdout.split()

    wait_until(lambda: len(hellos()) >= 2 and set(hellos()) == {"10.0.0.2"}, 30, "two HELLOs are in the capture")


def refused(scratch, example, port, said):
    nodes = Nodes(scratch, example, f"{port} address 10.0.0.{{own}}/24", "address 10.0.0.{other}")
    nodes.a.start()
    wait_until(lambda: any(shown["state"] == "closed" and said in shown["problem"]
                           for shown in (nodes.a.show() or {"ports": []})["ports"]), 20, f"'{said}' is said")


def case_refused_interface(scratch, example):
    """What can't work is said, with what to do about it."""
    refused(scratch, example, "af_packet hgnone", "net_af_packet0,iface=hgnone")


def case_refused_mtu_of_interface(scratch, example):
    veth("hga", "hgb")
    refused(scratch, example, "af_packet hga mtu 9000", "ip link set hga mtu 9000")


def case_refused_mtu_of_device(scratch, example):
    refused(scratch, example, "tap hgt mtu 9000", "carries an MTU of 15")


def in_namespace(name, example):
    """A case in a process and a network namespace of its own."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise Skipped("no network namespace: needs root")
    run("ip", "link", "set", "lo", "up")
    with Scratch() as scratch:
        globals()["case_" + name](scratch, example)


def main():
    if os.geteuid() != 0:
        skip("needs root for kernel interfaces")
    example, wanted = os.path.abspath(sys.argv[1]), sys.argv[2:]
    cases = [name[5:] for name in globals() if name.startswith("case_")]
    if len(wanted) == 1 and wanted[0].startswith("="):
        try:
            in_namespace(wanted[0][1:], example)
        except Skipped as reason:
            skip(str(reason))
        return
    failed, skipped = [], []
    for name in wanted or cases:
        done = subprocess.run([sys.executable, os.path.abspath(__file__), example, "=" + name], capture_output=True,
                              text=True, timeout=180)
        last = re.sub(r"\s+", " ", (done.stdout + done.stderr).strip().splitlines()[-1]) if done.returncode else ""
        print(f"{name}: {'ok' if done.returncode == 0 else last}", flush=True)
        if done.returncode == 77:
            skipped.append(name)
        elif done.returncode != 0:
            failed.append(name)
            print(done.stdout + done.stderr, flush=True)
    print(f"{len(wanted or cases) - len(failed) - len(skipped)} passed, failed: {failed}, skipped: {skipped}")
    if failed:
        raise Failed(f"ports: {failed}")


if __name__ == "__main__":
    main()
