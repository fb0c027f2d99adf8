#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our packets seen with other people's tools: two real dataplanes over a pair of kernel interfaces, a capture of what
crosses it, once over IPv4 and once over IPv6, and the keys computed from the shared key and the captured handshake by
docs/wire-security.md alone (HKDF by Python, AES-256-GCM by OpenSSL). OpenSSL checks every ICV with its extended
sequence number, tshark decrypts the same bytes, and tools/wireshark/heliograph.lua reads them: as they were sent, cut
at every length, and corrupted."""
import ctypes
import ctypes.util
import hashlib
import hmac
import itertools
import os
import random
import re
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import threading

from cluster import Failed, Process, Scratch, server_user, skip, wait_until
from regions import ROOT, Region, write

LUA = os.path.join(ROOT, "tools", "wireshark", "heliograph.lua")
CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33
PORT_HANDSHAKE = 47000
PORT_DATA = 47001
NEXT_HEADER = 253
ENTRIES = 3000
LINKTYPE_ETHERNET, LINKTYPE_RAW = 1, 101
MALFORMED = "heliograph.malformed"
SEED = int(os.environ.get("HELIO_SEED", random.SystemRandom().randrange(1 << 32)))


def run(*words):
    subprocess.run(words, check=True, timeout=20)


# ---- capture --------------------------------------------------------------------------------------------------------


def pcap(path, linktype, packets):
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, linktype))
        for number, packet in enumerate(packets):
            out.write(struct.pack("<IIII", number // 1000000, number % 1000000, len(packet), len(packet)) + packet)
    os.chmod(path, 0o644)
    return path


class Capture:
    """Every frame of a type that arrives at one of two interfaces, in the order seen."""

    def __init__(self, interfaces, ethertype):
        self.frames = []
        self.sockets = []
        for name in interfaces:
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
            opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
            opened.bind((name, ethertype))
            self.sockets.append(opened)
            threading.Thread(target=self._read, args=(opened,), daemon=True).start()

    def _read(self, opened):
        while True:
            frame, address = opened.recvfrom(65535)
            if address[2] != socket.PACKET_OUTGOING:
                self.frames.append(frame)

    def dropped(self):
        """Frames that the kernel had no room for."""
        return sum(struct.unpack("II", s.getsockopt(263, 6, 8))[1] for s in self.sockets)  # PACKET_STATISTICS


def udp(frame):
    """(destination port, payload) of an Ethernet frame that is IPv4 and UDP without options, or IPv6 and UDP."""
    if frame[14] >> 4 == 6 and frame[20] == 17:
        return struct.unpack(">H", frame[56:58])[0], frame[62:54 + struct.unpack(">H", frame[18:20])[0]]
    if frame[14] != 0x45 or frame[23] != 17:
        return None, b""
    return struct.unpack(">H", frame[36:38])[0], frame[42:14 + struct.unpack(">H", frame[16:18])[0]]


def codepoint(frame):
    """Of ECN: the two low bits of IPv4's second byte or of IPv6's traffic class."""
    return frame[15] & 3 if frame[14] >> 4 == 4 else frame[15] >> 4 & 3


def sender(frame):
    """The node's name, which is the last byte of its MAC."""
    return f"{frame[11]:x}"


# ---- keys, from docs/wire-security.md -------------------------------------------------------------------------------


def hkdf(secret, salt, info, length):
    key = hmac.new(salt, secret, hashlib.sha256).digest()
    out, block = b"", b""
    while len(out) < length:
        block = hmac.new(key, block + info + bytes([len(out) // 32 + 1]), hashlib.sha256).digest()
        out += block
    return out[:length]


def sa_table(secret, messages):
    """{SPI: key and salt}: of every REPLY and the HELLO whose nonce it repeats."""
    table = {}
    hellos = {m[56:88]: m for m in messages if m[5] == 1}
    for reply in (m for m in messages if m[5] == 2):
        hello = hellos[reply[88:120]]
        salt = hello[56:88] + reply[56:88]
        began = reply[52:56] if hello[52:56] == reply[52:56] != bytes(4) else reply[44:48]
        for direction, receiver in ((0, reply), (1, hello)):
            sender = hello if receiver is reply else reply
            for s, r in itertools.product(range(sender[48]), range(receiver[48])):
                info = b"heliograph esp2\0" + hello[32:40] + reply[32:40]
                info += struct.pack("<II", direction, s + 256 * r) + began + bytes(4)
                table[struct.unpack("<I", receiver[40:44])[0] + s + 64 * r] = hkdf(secret, salt, info, 36)
    return table


# ---- OpenSSL: RFC 4106 with ESN -------------------------------------------------------------------------------------


class OpenSsl:
    def __init__(self):
        library = ctypes.util.find_library("crypto")
        if library is None:
            skip("no libcrypto")
        self.crypto = ctypes.CDLL(library)
        for name in ("EVP_CIPHER_CTX_new", "EVP_aes_256_gcm"):
            getattr(self.crypto, name).restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.crypto.EVP_CIPHER_CTX_new())
        self.cipher = ctypes.c_void_p(self.crypto.EVP_aes_256_gcm())

    def open(self, key_salt, esp, number):
        """The text with its trailer, or None when the ICV over SPI and 64-bit number is wrong."""
        text, length = ctypes.create_string_buffer(len(esp)), ctypes.c_int()
        nonce, extra, body = key_salt[32:] + esp[8:16], esp[:4] + struct.pack(">Q", number), esp[16:-16]
        steps = (("EVP_DecryptInit_ex", self.cipher, None, key_salt[:32], nonce),
                 ("EVP_DecryptUpdate", None, ctypes.byref(length), extra, len(extra)),
                 ("EVP_DecryptUpdate", text, ctypes.byref(length), body, len(body)),
                 ("EVP_CIPHER_CTX_ctrl", 0x11, 16, esp[-16:]))
        for name, *words in steps:
            if getattr(self.crypto, name)(self.context, *words) != 1:
                raise Failed(f"OpenSSL: {name}")
        good = self.crypto.EVP_DecryptFinal_ex(self.context, ctypes.byref(ctypes.create_string_buffer(32)),
                                               ctypes.byref(length)) == 1
        return text.raw[:len(body)] if good else None


# ---- tshark ---------------------------------------------------------------------------------------------------------


class Tshark:
    """As an unprivileged user: Wireshark runs no scripts for root."""

    def __init__(self, scratch, family):
        self.family = family
        self.user = server_user()
        self.home = scratch.directory("tshark-home", self.user)
        self.script = shutil.copy(LUA, os.path.join(self.home, "heliograph.lua"))
        os.chmod(self.script, 0o644)

    def read(self, capture, fields, table=None):
        """One dictionary a packet: field -> list of values."""
        words = ["tshark", "-n", "-r", capture, "-X", "lua_script:" + self.script, "-T", "fields", "-E",
                 "separator=;", "-E", "aggregator=,", "-o", "esp.enable_encryption_decode:TRUE"]
        for spi, key_salt in (table or {}).items():
            row = [self.family, "*", "*", f"0x{spi:08x}", "AES-GCM with 16 octet ICV [RFC4106]",
                   "0x" + key_salt.hex(), "NULL", ""]
            words += ["-o", "uat:esp_sa:" + ",".join(f'"{word}"' for word in row)]
        for field in fields:
            words += ["-e", field]
        extra = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=self.home,
                              env={**os.environ, "HOME": self.home}, **extra)
        said = done.stdout + done.stderr
        if done.returncode != 0 or re.search("lua.?error|lua:", said, re.IGNORECASE):
            raise Failed(f"tshark: {done.returncode}: {done.stderr[-2000:]} {said[-500:]}")
        return [{field: value.split(",") if value else [] for field, value in zip(fields, line.split(";"))}
                for line in done.stdout.splitlines()]


# ---- the wire, from docs/wire-format.md -----------------------------------------------------------------------------

HEADER = ("version flags".split(), "<BB")
PLACE = ("group index k m depth".split(), "<IBBBB")
HEADER_BYTES, DATA_BYTES, FLAG_FEC = 2, 16, 1
RECOVERED, PARITY = 4, 32
FRAMES = {
    2: ("data", "batch_grains_high alias bytes offset_units batch_grains lsn_first_high lsn_first_low".split(),
        "<BHHHHHI"),
    3: ("ack", "range_count delay_8us first_count largest credit_bytes ecn_ce ecn_ect".split(), "<BHIQQII"),
    16: ("stream_open", "stream incarnation group epoch lsn_begin lsn_durable system_identifier kind region "
         "lsn_unit_bytes name generation".split(), "<QIIQQQQHHI32sQ"),
    17: ("stream_answer", "status worker incarnation lsn_durable epoch chain log_uuid generation flags "
         "reserved".split(), "<HHIQQ16s16sQII"),
    18: ("stream_durable", ["lsn_durable"], "<Q"),
    19: ("stream_close", "reason reserved".split(), "<II"),
    20: ("stream_refuse", "reason reserved".split(), "<II"),
}
CONTROL = "opening bytes alias".split(), "<BHI"


def fields_all():
    names = ["heliograph." + name for name in HEADER[0]] + ["heliograph.type", "heliograph.data.data",
                                                            "heliograph.ack.gap", "heliograph.ack.count", MALFORMED]
    names += ["heliograph.control." + name for name in CONTROL[0]]
    names += ["heliograph.fec." + name for name in PLACE[0]]
    names += ["heliograph.data." + name for name in ("lsn_first", "offset", "batch_bytes")]
    return names + [f"heliograph.{frame}.{name}" for frame, words, _ in FRAMES.values() for name in words]


def shown(value):
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def frames_of(inner):
    """The type, beginning and end of each frame of an honest packet. On a busy machine packets are lost on their way
    from the capture to the receiver: then some are of parity, and acks tell of what was recovered."""
    at = HEADER_BYTES + (struct.calcsize(PLACE[1]) if inner[1] & FLAG_FEC else 0)
    while at < len(inner):
        kind, start = inner[at], at
        if kind in (0, 1):
            at += 1
        elif kind == 2:
            at += DATA_BYTES + struct.unpack_from("<H", inner, at + 4)[0]
        elif kind == 3:
            at += 24 + 8 * inner[at + 1]
        elif kind == RECOVERED:
            at += 4 + 8 * inner[at + 1]
        elif kind == PARITY:
            at += 4 + struct.unpack_from("<H", inner, at + 2)[0]
        else:
            at += struct.unpack_from("<H", inner, at + 2)[0]
        yield kind, start, at


def parsed(inner):
    """What the Lua dissector has to show of an honest packet."""
    out = {name: [] for name in fields_all()}

    def put(prefix, names, layout, at):
        for name, value in zip(names, struct.unpack_from(layout, inner, at)):
            text = value.rstrip(b"\0").decode() if name == "name" else shown(value)
            is_hex = name == "flags" and not prefix.endswith("stream_answer")
            out[f"{prefix}.{name}"].append("0x%02x" % value if is_hex else text)
        return at + struct.calcsize(layout)

    at = put("heliograph", *HEADER, 0)
    if inner[1] & FLAG_FEC:
        put("heliograph.fec", *PLACE, at)
    for kind, start, end in frames_of(inner):
        if kind != 0:
            out["heliograph.type"].append(str(kind))
        if kind in (0, 1, RECOVERED, PARITY):
            continue
        name, names, layout = FRAMES[kind]
        if kind >= 16:
            put("heliograph." + name, names, layout, put("heliograph.control", *CONTROL, start + 1))
            continue
        at = put("heliograph." + name, names, layout, start + 1)
        if kind == 2:
            high, _, _, units, grains, lsn_high, lsn_low = struct.unpack_from(layout, inner, start + 1)
            out["heliograph.data.data"].append(inner[at:end].hex())
            out["heliograph.data.lsn_first"].append(str(lsn_high << 32 | lsn_low))
            out["heliograph.data.offset"].append(str(units * 64))
            out["heliograph.data.batch_bytes"].append(str((high << 16 | grains) * 16))
        while kind == 3 and at < end:
            at = put("heliograph.ack", ["gap", "count"], "<II", at)
    return out


def clear(inner):
    """An IPv4 packet of protocol 253 that holds what ESP would."""
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(inner), 0, 0, 64, NEXT_HEADER, 0, bytes([10, 0, 0, 1]),
                       bytes([10, 0, 0, 2])) + inner


# ---- the test -------------------------------------------------------------------------------------------------------


def put(batch, offset, part):
    """What was sent again may be cut into other pieces than before."""
    batch.extend(bytes(max(0, offset + len(part) - len(batch))))
    batch[offset:offset + len(part)] = part


def region(scratch, name, number, other, key, net):
    own_mac, other_mac = f"02:00:00:00:00:0{name}", f"02:00:00:00:00:0{other}"
    return Region(scratch, name, number,
                  f"port add wan0 af_packet hgv{name} mac {own_mac} address {net.format(number)}\n"
                  f"peer add {other} node {3 - number} region {3 - number} "
                  f"address {net.format(3 - number).split('/')[0]} "
                  f"mac {other_mac} port wan0 key {key} rate 400m\n"
                  "stream add words id 1 kind key-value region 1 compression off\n"
                  + ("stream replicate words b\n" if number == 1 else ""), "64m")


class Test:
    def __init__(self, scratch, example, family="IPv4"):
        self.scratch = scratch
        self.example = example
        self.family = family
        self.secret = secrets.token_bytes(32)
        key = write(os.path.join(scratch.path, "link.key"), self.secret.hex() + "\n", 0o600)
        net = "10.0.0.{}/24" if family == "IPv4" else "fd00::{}/64"
        self.a, self.b = region(scratch, "a", 1, "b", key, net), region(scratch, "b", 2, "a", key, net)
        self.tshark = Tshark(scratch, family)
        self.openssl = OpenSsl()

    def session(self):
        """A real session: what client_example appended in A is durable in B. Leaves the packets in self.packets."""
        capture = Capture(("hgva", "hgvb"), 0x0800 if self.family == "IPv4" else 0x86DD)
        self.a.start()
        self.b.start()
        self.a.wait_up("b", 30)
        self.b.wait_up("a", 30)
        producer = Process(self.scratch, "example", [self.example, self.a.run, "words", ENTRIES])
        producer.expect(0, 30)
        self.said = list(producer.lines)
        end = wait_until(lambda: (self.a.stream("words") or {}).get("lsn_durable", 0), 10, "A tells its durable end")
        wait_until(lambda: (self.b.stream("words") or {}).get("lsn_durable", 0) >= end, 20, "B has all of it")
        self.frames = list(capture.frames)
        if capture.dropped() != 0:
            raise Failed("the capture is not whole")
        self.probes = {node.name: self.probes_of(node) for node in (self.a, self.b)}
        for node in (self.a, self.b):
            node.controlplane.terminate()
            node.dataplane.terminate()
        self.capture = pcap(os.path.join(self.scratch.path, "session.pcap"), LINKTYPE_ETHERNET, self.frames)

    def probes_of(self, node):
        """Probe timeouts of its lane, when it had sent all that was captured."""
        sent = sum(sender(frame) == node.name and udp(frame)[0] == PORT_DATA for frame in self.frames)

        def look():
            rows = (node.show() or {"peers": []})["peers"]
            return next((row for row in rows if row["packets_sent"] >= sent), None)

        return wait_until(look, 20, f"{node.name} tells of {sent} packets")["probes_sent"]

    def codepoint_check(self, place, types):
        """What elicits acks is marked, but where two probe timeouts in a row (a machine with other work) made the
        sender suspect that marked packets don't arrive. Acks are never marked."""
        frame, elicits = self.frames[place], bool(set(types) - {"3", "4"})
        may_differ = elicits and self.probes[sender(frame)] >= 2 and codepoint(frame) == 0
        if codepoint(frame) != (2 if elicits else 0) and not may_differ:
            raise Failed(f"frame {place + 1} with {types} has the codepoint {codepoint(frame)} of ECN; probe timeouts: "
                         f"{self.probes}")

    def by_openssl(self):
        """Each ICV with ESN; the inner packets, by the frame's place in the capture."""
        payloads = [udp(frame) for frame in self.frames]
        self.table = sa_table(self.secret, [data for port, data in payloads if port == PORT_HANDSHAKE])
        self.inner, seen = {}, set()
        for place, (port, esp) in enumerate(payloads):
            if port != PORT_DATA:
                continue
            spi, low, number = struct.unpack(">IIQ", esp[:16])
            if low != number & 0xFFFFFFFF or (spi, number) in seen:
                raise Failed(f"packet number {number} of SPI {spi:08x}: low half {low}, or used twice")
            seen.add((spi, number))
            text = self.openssl.open(self.table[spi], esp, number)
            if text is None or text[-1] != NEXT_HEADER:
                raise Failed(f"frame {place}: OpenSSL does not accept its ICV or the trailer is wrong")
            if self.openssl.open(self.table[spi], esp, number + (1 << 32)) is not None:
                raise Failed("the high half of the sequence number is not part of the ICV")
            self.inner[place] = text[:len(text) - 2 - text[-2]]
        if len(self.inner) < 20 or len({spi for spi, _ in seen}) != 2:
            raise Failed(f"{len(self.inner)} packets of {len(seen)}: not a session of two directions")
        print(f"{self.family}, OpenSSL: {len(self.inner)} packets of {len(self.table)} SAs, every ICV right with ESN",
              flush=True)

    def by_tshark(self):
        """tshark's bytes are OpenSSL's; its fields are what the documents say; what was appended is in them."""
        fields = fields_all()
        rows = self.tshark.read(self.capture, ["esp.contained_data", *fields, "heliograph_handshake.type"], self.table)
        if len(rows) != len(self.frames):
            raise Failed(f"tshark shows {len(rows)} packets of {len(self.frames)}")
        kinds, batches, told = set(), {}, set()
        for place, inner in self.inner.items():
            row, wanted = rows[place], parsed(inner)
            for name in fields:
                if row[name] != wanted[name]:
                    raise Failed(f"frame {place + 1}: {name} is {row[name]}, not {wanted[name]}")
            kinds.update(row["heliograph.type"])
            told.update(row["heliograph.ack.ecn_ect"])
            self.codepoint_check(place, row["heliograph.type"])
            for lsn, offset, text in zip(row["heliograph.data.lsn_first"], row["heliograph.data.offset"],
                                         row["heliograph.data.data"]):
                put(batches.setdefault(int(lsn), bytearray()), int(offset), bytes.fromhex(text))
        if not {"2", "3", "16", "17", "18"} <= kinds:
            raise Failed(f"the session shows only frames of types {sorted(kinds)}")
        if max(map(int, told)) < 20:
            raise Failed(f"acks tell of marked packets: {sorted(told)}")
        shakes = {kind for row in rows for kind in row["heliograph_handshake.type"]}
        if shakes != {"1", "2", "3"}:
            raise Failed(f"handshake messages shown: {shakes}")
        stream = b"".join(batch for _, batch in sorted(batches.items()))
        lost = [line for line in self.said if line.split(" ", 1)[1].encode() not in stream]
        if len(self.said) != ENTRIES or lost:
            raise Failed(f"{len(lost)} of {len(self.said)} appended entries are not in what tshark decrypted")
        print(f"{self.family}, tshark: every field of {len(self.inner)} packets, all {ENTRIES} entries in the clear",
              flush=True)

    def without_keys(self):
        """The wrong keys: tshark shows no frame of ours as right."""
        wrong = {spi: bytes(36) for spi in self.table}
        rows = self.tshark.read(self.capture, ["heliograph.data.lsn_first", "heliograph.stream_open.name"], wrong)
        if any(row["heliograph.stream_open.name"] == ["words"] for row in rows):
            raise Failed("tshark reads the session without its keys")

    def malformed(self):
        """One packet of each mix of frames, cut at every length but between two frames: each is shown as malformed."""
        mixes = {}
        for inner in self.inner.values():
            mixes.setdefault(tuple(parsed(inner)["heliograph.type"]), inner)
        cuts = [clear(inner[:n]) for inner in list(mixes.values())[:4] for n in range(1, len(inner))
                if n not in {start for _, start, _ in frames_of(inner)}]
        rows = self.tshark.read(pcap(os.path.join(self.scratch.path, "cut.pcap"), LINKTYPE_RAW, cuts), [MALFORMED])
        if len(rows) != len(cuts) or not all(row[MALFORMED] for row in rows):
            raise Failed(f"{sum(1 for row in rows if not row[MALFORMED])} of {len(cuts)} cut packets look right")
        print(f"{len(cuts)} packets cut short: each shown as malformed", flush=True)

    def refused(self):
        """Each rule of the receiver, broken alone."""
        def packet(frames, version=3, flags=0, fec=None):
            place = struct.pack(PLACE[1], *fec) if fec else b""
            return clear(struct.pack(HEADER[1], version, FLAG_FEC if fec else flags) + place + frames)

        def data(high=0, bytes_=64, units=0, batch=192, there=64):
            return struct.pack("<BBHHHHHI", 2, high, 1, bytes_, units, batch // 16, 0, 9) + bytes(there)

        def ack(ranges=1, first=1, largest=9, more=b""):
            return struct.pack("<BBHIQQII", 3, ranges, 0, first, largest, 0, 0, 0) + more

        def recovered(*numbers, count=None, reserved=0):
            head = struct.pack("<BBH", 4, len(numbers) if count is None else count, reserved)
            return head + struct.pack(f"<{len(numbers)}Q", *numbers)

        def parity(symbol=20, said=None, reserved=0):
            return struct.pack("<BBH", 32, reserved, symbol if said is None else said) + bytes(symbol)

        row = (7, 33, 5, 2, 1)  # group, index, k, m, depth
        good = [packet(recovered(9, 1)), packet(recovered(*range(16, 0, -1))), packet(b"\1", fec=(7, 4, 5, 2, 1)),
                packet(parity(), fec=row),
                packet(b"\1"), packet(bytes(9)), packet(data()), packet(ack()), packet(data(units=2)),
                packet(ack(2, more=struct.pack("<II", 1, 7))), packet(struct.pack("<BBHI", 31, 0, 8, 1))]
        bad = [packet(recovered()), packet(recovered(1, 2)), packet(recovered(2, 2)), packet(recovered(1, 0)),
               packet(recovered(9, reserved=1)), packet(recovered(9, count=2)), packet(recovered(*range(17, 0, -1))),
               packet(b"\1", fec=(7, 0, 0, 0, 0)), packet(b"\1", fec=(7, 5, 5, 2, 1)),
               packet(b"\1", fec=(7, 4, 33, 2, 1)), packet(b"\1", fec=(7, 4, 5, 9, 1)),
               packet(b"\1", fec=(7, 4, 5, 2, 0)), packet(b"\1", fec=(7, 4, 5, 2, 17)), packet(b"\1", fec=row),
               packet(parity()), packet(parity(), fec=(7, 34, 5, 2, 1)), packet(parity(said=19), fec=row),
               packet(parity(8), fec=row), packet(parity(reserved=1), fec=row), packet(parity() + b"\1", fec=row),
               packet(b"\1", version=2), packet(b"\1", version=4), packet(b"\1", flags=1), packet(b"\1", flags=2),
               packet(b"\4"), packet(b"\x20"), packet(data(high=2)),
               packet(data(bytes_=0, there=0)), packet(data(bytes_=65)), packet(data(bytes_=63)),
               packet(data(units=3)), packet(data(units=65535)), packet(data(batch=176)),
               packet(data(high=1, batch=65535 * 16)), packet(ack(0)), packet(ack(33)),
               packet(ack(2)), packet(ack(first=0)), packet(ack(first=10)),
               packet(ack(2, more=struct.pack("<II", 0, 1))), packet(ack(2, more=struct.pack("<II", 1, 0))),
               packet(ack(2, more=struct.pack("<II", 2, 7))), packet(struct.pack("<BBHI", 18, 0, 4, 1)),
               packet(struct.pack("<BBHI", 18, 0, 10, 1) + bytes(2)), packet(struct.pack("<BBHI", 18, 0, 16, 1)),
               packet(struct.pack("<BBHI", 31, 0, 260, 1) + bytes(252))]
        rows = self.tshark.read(pcap(os.path.join(self.scratch.path, "rules.pcap"), LINKTYPE_RAW, good + bad),
                                [MALFORMED])
        verdicts = [bool(row[MALFORMED]) for row in rows]
        if verdicts != [False] * len(good) + [True] * len(bad):
            raise Failed(f"malformed or not: {verdicts}; the first {len(good)} are right, the others are not")
        print(f"{len(bad)} broken rules: each shown as malformed", flush=True)

    def corrupted(self):
        """Random bytes changed in clear packets, and in the encrypted capture: never an error of the script."""
        rng = random.Random(SEED)
        inners = [rng.choice(list(self.inner.values())) for _ in range(1500)]
        broken = []
        for inner in inners:
            changed = bytearray(inner)
            for _ in range(rng.randrange(1, 6)):
                changed[rng.randrange(min(len(changed), rng.choice((40, 120, 9000))))] = rng.randrange(256)
            broken.append(clear(bytes(changed[:rng.randrange(1, len(changed) + 1)])))
        rows = self.tshark.read(pcap(os.path.join(self.scratch.path, "corrupted.pcap"), LINKTYPE_RAW, broken),
                                [MALFORMED, "_ws.malformed"])
        if len(rows) != len(broken) or not any(row[MALFORMED] for row in rows):
            raise Failed("corrupted packets are not shown as malformed")
        if any(row["_ws.malformed"] and not row[MALFORMED] for row in rows):
            raise Failed("the script read past the end of a packet")
        cut = [frame[:rng.randrange(20, len(frame) + 1)] for frame in self.frames]
        self.tshark.read(pcap(os.path.join(self.scratch.path, "cut-frames.pcap"), LINKTYPE_ETHERNET, cut), [MALFORMED],
                         self.table)
        print(f"{len(broken)} corrupted packets: no error of the script (HELIO_SEED={SEED})", flush=True)


def main():
    if os.geteuid() != 0:
        skip("needs root for a pair of kernel interfaces")
    if shutil.which("tshark") is None:
        raise Failed("tshark is not installed: run tools/setup")
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        skip("no network namespace can be made here")
    run("ip", "link", "add", "hgva", "type", "veth", "peer", "name", "hgvb")
    for name in ("hgva", "hgvb"):
        run("ip", "link", "set", name, "up")
    with Scratch() as scratch:
        test = Test(scratch, os.path.abspath(sys.argv[1]))
        test.session()
        test.by_openssl()
        test.by_tshark()
        test.without_keys()
        test.malformed()
        test.refused()
        test.corrupted()
    with Scratch() as scratch:
        test = Test(scratch, os.path.abspath(sys.argv[1]), "IPv6")
        test.session()
        test.by_openssl()
        test.by_tshark()
        test.without_keys()


if __name__ == "__main__":
    main()
