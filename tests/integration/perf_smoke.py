#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of helio-perf that run whole nodes still run: something becomes durable at the other end, what the
report names is there and possible. Says nothing about speed. Needs root for TCP. usage: perf_smoke.py HELIO_PERF"""
import json
import os
import subprocess
import sys

LIMIT_S = 100


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def run(program, *arguments):
    done = subprocess.run([program, *arguments, '--json'], stdout=subprocess.PIPE, text=True, timeout=LIMIT_S)
    check(done.returncode == 0, f'helio-perf {" ".join(arguments)} ends with {done.returncode}')
    return json.loads(done.stdout)['metrics']


def pipeline(program):
    metrics = run(program, 'pipeline', '--data', 'half', '--seconds', '0.5', '--log-size', '512')
    check(metrics['frames_per_s/bytes=200'] > 0, f'frames arrive: {metrics}')


def wan(program):
    metrics = run(program, 'wan', '--line', '40', '--cells', '1:20:random', '--senders', 'hg-bbr,tcp-cubic',
                  '--seconds', '1')
    check(metrics['line_bits_per_s'] == 40e6, f'the line is the one that was asked for: {metrics}')
    for sender in ('hg-bbr', 'tcp-cubic'):
        cell = f'sender={sender}/loss_pct=1/rtt_ms=20/pattern=random'
        # A loaded machine makes a run invalid: the figure is there under another name then.
        share = metrics.get(f'goodput_share/{cell}', metrics.get(f'goodput_share_invalid/{cell}'))
        check(share is not None and 0.001 < share < 1, f'{sender} gets through no more than the line holds: {share}')
        check(0.001 < metrics[f'line_used_share/{cell}'] < 1.1, f'helio-wan carried it: {metrics}')
        check(metrics[f'emulator_lost_share/{cell}'] < 0.5, f'helio-wan says what it dropped: {metrics}')


def fairness(program):
    metrics = run(program, 'wan', '--fairness', '--line', '20', '--seconds', '2', '--quick')
    for rtt_ms in (20, 100):
        cell = [value for name, value in metrics.items() if name.startswith('fairness_share') and
                name.endswith(f'/rtt_ms={rtt_ms}')]
        check(len(cell) == 3 and min(cell) >= 0 and 0.1 < sum(cell) < 1.2, f'three flows share a line: {metrics}')
        check(0.333 <= metrics[f'fairness_index/rtt_ms={rtt_ms}'] <= 1, f'an index of three: {metrics}')


def main():
    if os.geteuid() != 0 or not os.path.exists('/dev/net/tun'):
        print('network namespaces and /dev/net/tun need root')
        return 77
    if os.cpu_count() < 2:
        print('the emulator needs a CPU of its own')
        return 77
    program = os.path.abspath(sys.argv[1])
    pipeline(program)
    wan(program)
    fairness(program)
    print('ok')
    return 0


if __name__ == '__main__':
    sys.exit(main())
