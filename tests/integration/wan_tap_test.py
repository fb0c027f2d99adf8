#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""helio-wan with tap ports: the kernel's TCP, unmodified, between two network namespaces over an emulated line of 400
Mbit/s and 40 ms round trip; over a narrow one that says so; over one that loses, doubles, reorders and damages. Needs
root. usage: wan_tap_test.py HELIO_WAN"""
import hashlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ANSWER_S = 20
TRANSFER_S = 60
RATE_BITS = 400_000_000
IFACES = (f'hgt{os.getpid() % 1000000}a', f'hgt{os.getpid() % 1000000}b')
SPACES = (f'helio-wan-{os.getpid()}-a', f'helio-wan-{os.getpid()}-b')
ADDRESSES = ('10.213.0.1', '10.213.0.2')
MACS = ('02:00:00:00:00:0a', '02:00:00:00:00:0b')
PORT = 5001


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def pattern(index):
    """A block of a stream that no shifted or lost piece of it can be taken for."""
    return hashlib.sha256(index.to_bytes(8, 'big')).digest() * 2048


def serve():
    """In b's namespace: takes one stream, says how many bytes, their hash and how long they took."""
    listener = socket.create_server((ADDRESSES[1], PORT))
    print('ready', flush=True)
    connection = listener.accept()[0]
    connection.settimeout(TRANSFER_S)
    began, count, digest = time.monotonic(), 0, hashlib.sha256()
    for data in iter(lambda: connection.recv(1 << 18), b''):
        count += len(data)
        digest.update(data)
    print(json.dumps({'bytes': count, 'hash': digest.hexdigest(), 'seconds': time.monotonic() - began}), flush=True)


def send(blocks):
    """In a's namespace: connects, says how long that took, sends."""
    began = time.monotonic()
    connection = socket.create_connection((ADDRESSES[1], PORT), timeout=TRANSFER_S)
    print(json.dumps({'connect_s': time.monotonic() - began}), flush=True)
    for index in range(blocks):
        connection.sendall(pattern(index))
    connection.close()


def ip(*arguments):
    subprocess.run(['ip', *arguments], check=True, timeout=ANSWER_S)


def skip(reason):
    print(f'wan_tap: skipped: {reason}')
    sys.exit(77)


class Line:
    """The emulator, and a namespace at each end of it."""

    def __init__(self, wan, run):
        self.wan, self.run = wan, run
        config = f'{run}/wan.conf'
        with open(config, 'w', encoding='utf8') as file:
            for name, iface, mac in zip('ab', IFACES, MACS):
                file.write(f'port add {name} tap iface {iface} mac {mac}\n')
        self.child = subprocess.Popen([wan, '--run', run, '--config', config], stdout=subprocess.PIPE, text=True)
        check(self.child.stdout.readline().startswith('helio-wan: 2 ports'), 'helio-wan starts')
        for space, iface, address in zip(SPACES, IFACES, ADDRESSES):
            ip('link', 'set', iface, 'netns', space)
            ip('-n', space, 'address', 'add', f'{address}/24', 'dev', iface)
            ip('-n', space, 'link', 'set', iface, 'up')

    def command(self, text):
        done = subprocess.run([self.wan, '--run', self.run, '--json', '--command', text], capture_output=True,
                              text=True, timeout=ANSWER_S, check=False)
        check(done.returncode == 0, f'{text}: {done.stdout} {done.stderr}')
        return json.loads(done.stdout)

    def link(self):
        return next(x for x in self.command('show links')['links'] if (x['from'], x['to']) == ('a', 'b'))

    def ports_up(self):
        return [port['up'] for port in self.command('show ports')['ports']]

    def transfer(self, blocks):
        """A stream from a to b; what both ends say of it."""
        me = [sys.executable, os.path.abspath(__file__)]
        server = subprocess.Popen(['ip', 'netns', 'exec', SPACES[1], *me, '--serve'], stdout=subprocess.PIPE, text=True)
        try:
            check(server.stdout.readline() == 'ready\n', 'the receiver listens')
            sent = subprocess.run(['ip', 'netns', 'exec', SPACES[0], *me, '--send', str(blocks)], check=True,
                                  timeout=TRANSFER_S, capture_output=True, text=True)
            out = server.communicate(timeout=TRANSFER_S)[0]
        finally:
            if server.poll() is None:
                server.kill()
        got = json.loads(out) | json.loads(sent.stdout)
        digest = hashlib.sha256()
        for index in range(blocks):
            digest.update(pattern(index))
        check(got['bytes'] == blocks * 65536 and got['hash'] == digest.hexdigest(), f'every byte arrives: {got}')
        return got


def both(line, text):
    line.command(f'link set a b {text}')
    line.command(f'link set b a {text}')


def test_rate_and_delay(line):
    both(line, 'delay 20ms rate 400m queue 2m')
    got = line.transfer(480)  # 31 MB
    check(0.040 <= got['connect_s'] < 3, f'a round trip of 40 ms: {got}')
    least_s = got['bytes'] * 8 / RATE_BITS
    check(least_s * 0.95 <= got['seconds'] <= least_s * 10, f'no faster than the line, nor at a tenth of it: {got}')
    print(f"wan_tap: {got['bytes'] * 8 / got['seconds'] / 1e6:.0f} Mbit/s of TCP over 400 Mbit/s, 40 ms")


def test_narrow(line):
    """The kernel learns a smaller MTU from the emulator's answer, and TCP goes on."""
    both(line, 'delay 2ms mtu 1300 icmp')
    before = line.link()
    line.transfer(32)
    after = line.link()
    check(after['icmp_sent'] > before['icmp_sent'], f'{after}')
    check(after['lost_mtu'] - before['lost_mtu'] < 200, f'the sender has learned: {after}')
    route = subprocess.run(['ip', '-n', SPACES[0], 'route', 'get', ADDRESSES[1]], capture_output=True, text=True,
                           check=True, timeout=ANSWER_S).stdout
    check(' mtu 1300' in route, route)
    ip('-n', SPACES[0], 'route', 'flush', 'cache')


def test_bad_line(line):
    both(line, 'delay 2ms loss 0.2% reorder 2% late 1ms duplicate 1% corrupt 0.5% paths 2 skew 100us')
    before = line.link()
    line.transfer(80)  # TCP's checksum finds the damage; what arrives is what was sent
    after = line.link()
    for counter in ('lost_loss', 'reordered', 'duplicated', 'corrupted', 'detoured'):
        check(after[counter] > before[counter], f'{counter} moved: {after}')


def test_namespace_deleted(line):
    """The interface goes with its namespace: the port says so, and the other one lives on."""
    check(line.ports_up() == [True, True], 'both are up in their namespaces')
    ip('netns', 'delete', SPACES[1])
    deadline = time.monotonic() + ANSWER_S
    while line.ports_up() != [True, False]:
        check(time.monotonic() < deadline, 'the emulator notices')
    problem = line.command('show ports')['ports'][1]['problem']
    check('interface is gone' in problem, problem)


def test_refused(wan, run):
    """What keeps a tap port from being made is said in words."""
    for iface, user, want in (('lo', None, 'there is a network interface lo already'),
                              (IFACES[0], 'nobody', 'CAP_NET_ADMIN')):
        place = tempfile.mkdtemp(dir=run)
        program = shutil.copy(wan, place)  # the build may be where only root can go
        config = f'{place}/wan.conf'
        with open(config, 'w', encoding='utf8') as file:
            file.write(f'port add a tap iface {iface} mac {MACS[0]}\n')
        if user is not None:
            os.chmod(run, 0o755)
            os.chown(place, pwd.getpwnam(user).pw_uid, -1)
        done = subprocess.run([program, '--run', place, '--config', config], capture_output=True, text=True, user=user,
                              timeout=ANSWER_S, check=False)
        check(done.returncode == 1 and want in done.stderr and f'{config}:1: ' in done.stderr, f'{done}')


def spaces_make():
    for space in SPACES:
        done = subprocess.run(['ip', 'netns', 'add', space], capture_output=True, text=True, timeout=ANSWER_S,
                              check=False)
        if done.returncode != 0:
            skip(f'no network namespaces here: {done.stderr.strip()}')
        ip('-n', space, 'link', 'set', 'lo', 'up')


def main(wan):
    if os.geteuid() != 0:
        skip('network namespaces and tap interfaces need root')
    if not os.path.exists('/dev/net/tun'):
        skip('there is no /dev/net/tun')
    run = tempfile.mkdtemp(prefix='helio-wan-tap-')
    line = None
    try:
        spaces_make()
        test_refused(wan, run)
        line = Line(wan, run)
        test_rate_and_delay(line)
        test_narrow(line)
        test_bad_line(line)
        test_namespace_deleted(line)
        line.command('quit')
        check(line.child.wait(ANSWER_S) == 0, 'quit ends it well')
    finally:
        if line is not None and line.child.poll() is None:
            line.child.kill()
        for space in SPACES:
            subprocess.run(['ip', 'netns', 'delete', space], capture_output=True, timeout=ANSWER_S, check=False)
    shutil.rmtree(run)
    print('wan_tap: ok')


if sys.argv[1] == '--serve':
    serve()
elif sys.argv[1] == '--send':
    send(int(sys.argv[2]))
else:
    main(sys.argv[1])
