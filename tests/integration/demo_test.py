#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The README's first command, shortened: tools/demo without its setup and build."""
import os
import sys

DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "demo.d", "demo.py")

os.execv(sys.executable, [sys.executable, DEMO, "--seconds", "20", "--scale", "3"])
