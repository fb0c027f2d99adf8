# SPDX-License-Identifier: Apache-2.0
"""A log's file as it lies on disk: where its writes are (docs/disk-format.md), and damage done to them on purpose."""
import os
import re
import subprocess
from collections import namedtuple

from cluster import Failed
from regions import program

BLOCK_BYTES = 4096
RING_OFFSET = 4 * BLOCK_BYTES  # behind the superblocks
RING_WRITES = 256
SEGMENTS_OFFSET = RING_OFFSET + RING_WRITES * BLOCK_BYTES

# `begin`: the byte of the file where its header block is; its payload follows that.
Write = namedtuple("Write", "sequence segment offset payload batches begin")


def helio_log(code, *words):
    done = subprocess.run([program("helio-log"), *words], capture_output=True, text=True, timeout=60)
    if done.returncode != code:
        raise Failed(f"helio-log {' '.join(words)}: {done.returncode}, not {code}: {done.stdout}{done.stderr}")
    return done.stdout


def writes_of(dump):
    """All of a log that never grew, the oldest first, of what `helio-log dump` says."""
    count, segment_bytes = (int(word) for word in re.search(r"(\d+) segments of (\d+) bytes", dump).groups())
    found = re.findall(r"^write (\d+) segment (\d+) offset (\d+) restarts \d+ payload (\d+) batches (\d+)", dump, re.M)
    rows = [[int(word) for word in one] for one in found]
    return [Write(*row, SEGMENTS_OFFSET + row[1] % count * segment_bytes + row[2]) for row in rows]


def flip(path, offset):
    with open(path, "r+b", buffering=0) as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))
        os.fsync(file.fileno())


def tear_end(path):
    """The newest write as after a power cut that came before it was flushed: neither it nor the ring's copy of its
    header is whole. Returns it."""
    newest = writes_of(helio_log(0, "dump", path))[-1]
    for offset in (newest.begin + BLOCK_BYTES, newest.begin, RING_OFFSET + newest.sequence % RING_WRITES * BLOCK_BYTES):
        flip(path, offset)
    return newest
