# SPDX-License-Identifier: GPL-2.0-only
"""The demonstration of make demo and make demo-qemu7 succeeds, and detects a loss."""

import os
import pathlib
import subprocess
import sys

import pytest

from lib.qemu import versions

pytestmark = pytest.mark.edu

DEMO = pathlib.Path(__file__).with_name("demo.py")

# Runs the demonstration with a guest that loses a byte of what its device wrote.
LOSSY = """
import runpy, sys
from lib.qemu import machine
migrate = machine.migrate

def lossy(source, target):
    info = migrate(source, target)
    page = 0x400000
    target.qtest.write(page, bytes([target.qtest.read(page, 1)[0] ^ 1]))
    return info

machine.migrate = lossy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments):
    """Runs a Python program that can import the tests' modules; returns status and output."""
    result = subprocess.run(
        [sys.executable, "-B", *arguments],
        env={**os.environ, "PYTHONPATH": str(DEMO.parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(result.stdout)
    return result.returncode, result.stdout


def check(output, status, lossy):
    """Asserts what the demonstration says, and that its status agrees."""
    assert f"memory equal that the device wrote: {'NO' if lossy else 'yes'}" in output
    assert output.count(": NO") == int(lossy)
    assert status == int(lossy)
    assert ("nothing was lost" in output) != lossy


@pytest.mark.physical
def test_the_demonstration(bdfs, version):
    status, output = run(DEMO, str(version), *bdfs)
    check(output, status, lossy=False)


@pytest.mark.physical
def test_the_demonstration_detects_a_loss(bdfs):
    """The comparison is the same for each QEMU."""
    status, output = run("-c", LOSSY, DEMO, str(versions.QEMU_11), *bdfs)
    check(output, status, lossy=True)
