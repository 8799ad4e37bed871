# SPDX-License-Identifier: GPL-2.0-only
"""The conformance suite, vfio-migrate check, on the driver's devices and the kernel's sample."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from lib import modules, mtty
from lib.iommufd import HAS_IOMMUFD
from lib.patience import SLOWNESS


def check(vfio_migrate, name, *arguments, status=0):
    """Runs the suite; returns what it printed."""
    result = subprocess.run(
        [vfio_migrate, "check", name, *arguments],
        capture_output=True,
        text=True,
        timeout=280 * SLOWNESS,
        check=False,
    )
    assert result.returncode == status, result.stdout[-3000:] + result.stderr
    return result.stdout


def check_json(vfio_migrate, name, *arguments, status=0):
    return json.loads(check(vfio_migrate, name, "--json", *arguments, status=status))


def summary(report):
    return (
        f"{report['passed']} passed, {report['failed']} failed,"
        f" {report['not_applicable']} not applicable"
    )


def of_status(report, status):
    """Returns the details of the checks with this status, by their names."""
    return {
        entry["name"]: entry.get("detail") for entry in report["checks"] if entry["status"] == status
    }


AREAS = ("v2-arguments", "v2-states", "v2-stream", "v2-precopy", "v2-damage", "v2-session", "pci",
         "dma-logging", "region-v1", "region-2018", "lifetime", "second-device")


@pytest.mark.parametrize("area", AREAS)
def test_the_driver_passes(vfio_migrate, bdfs, area, count):
    report = check_json(vfio_migrate, bdfs[0], "--to", bdfs[1], "--only", f"{area}.")
    count(f"vfio-migrate check, {modules.DRIVER}, {area}: {summary(report)}")
    assert report["failed"] == 0
    # The image has checksums, so the driver takes no damaged one.
    assert of_status(report, "info") == {}
    assert report["passed"] > 0 or (area == "dma-logging" and not HAS_IOMMUFD)
    # The driver offers all protocols and all states, but no DMA logging on this kernel, and never
    # goes to ERROR. The device has no function level reset. A fresh one always gives the same
    # stream.
    for name in of_status(report, "not-applicable"):
        assert name.startswith(("dma-logging.", "v2-states.ERROR-to-", "pci.flr-in-",
                                "v2-session.load-has-effect")), name


def test_the_kernels_sample(vfio_migrate, count):
    """Nothing fails but what mtty does wrong: see Documentation/conformance.rst."""
    with mtty.devices(2) as paths:
        name, second = (path.rpartition("/")[2] for path in paths)
        report = check_json(vfio_migrate, name, "--to", second, status=5)
    failed = of_status(report, "fail")
    count(f"vfio-migrate check, mtty: {summary(report)}: {', '.join(failed)}")
    # Its state outlives close, and its pre-copy stream has no temporary end.
    expected = {f"lifetime.close-in-{state}" for state in
                ("STOP", "STOP_COPY", "RESUMING", "RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P")}
    expected |= {"v2-stream.after-close", "dma-logging.second-start"}
    expected |= {"v2-precopy.temporary-end", "v2-precopy.temporary-end-in-p2p"}
    # It stops although write() has refused the data.
    expected |= {"v2-damage.halves-exchanged", "v2-damage.bit-flips", "v2-damage.random"}
    # It reports pages too often, or not at all.
    if HAS_IOMMUFD:
        expected |= {"dma-logging.report-before-start", "dma-logging.report-after-stop"}
    else:
        expected |= {"dma-logging.claim"}
        assert "EOPNOTSUPP" in failed["dma-logging.claim"]
    assert set(failed) == expected
    assert of_status(report, "info") == {}


def test_a_second_device_of_another_kind(vfio_migrate, bdfs):
    """The checks that migrate from one device to a second can fail."""
    with mtty.devices(1) as paths:
        second = paths[0].rpartition("/")[2]
        report = check_json(vfio_migrate, bdfs[0], "--to", second, "--only", "second-device.",
                            status=5)
    failed = of_status(report, "fail")
    assert set(failed) == {f"second-device.{name}" for name in
                           ("stopped", "by-precopy", "by-p2p", "and-back", "target-fails")}
    assert "writing to the second device" in failed["second-device.stopped"]


def test_a_second_device_that_is_not_named(vfio_migrate, bdfs):
    report = check_json(vfio_migrate, bdfs[0], "--only", "second-device.")
    assert set(of_status(report, "not-applicable")) == {check["name"] for check in report["checks"]}
    check(vfio_migrate, bdfs[0], "--to", bdfs[0], "--only", "second-device.", status=3)


def test_the_list(vfio_migrate):
    result = subprocess.run(
        [vfio_migrate, "check", "--list", "--json"], capture_output=True, text=True, check=True
    )
    names = [check["name"] for check in json.loads(result.stdout)["checks"]]
    assert len(set(names)) == len(names) > 200
    assert {name.split(".")[0] for name in names} == set(AREAS)


def test_tap(vfio_migrate, bdfs):
    lines = check(vfio_migrate, bdfs[0], "--tap", "--only", "dma-logging").splitlines()
    assert lines[0] == "TAP version 13"
    count = int(re.fullmatch(r"1\.\.(\d+)", lines[1])[1])
    results = [line for line in lines if not line.startswith("#")][2:]
    assert len(results) == count
    for number, line in enumerate(results, 1):
        assert re.match(rf"ok {number} - dma-logging\.\S+( # SKIP .+)?$", line), line


def test_a_table(vfio_migrate, bdfs):
    text = check(vfio_migrate, bdfs[0], "--only", "v2-states.STOP-to")
    assert "pass  v2-states.STOP-to-STOP_COPY" in text
    assert text.splitlines()[-1].startswith(f"{bdfs[0]}: 8 checks: 8 passed, 0 failed")


@pytest.mark.physical
def test_a_device_that_does_not_migrate(vfio_migrate, functions):
    modules.rebind(functions[0], "vfio-pci")
    check(vfio_migrate, functions[0], status=3)


RACES = ("lifetime.reset-races-set-state", "lifetime.set-state-races-set-state")


@contextlib.contextmanager
def stopped(vfio_migrate, name, *arguments):
    """Runs the two races, and stops the process of the first as soon as it has the device open.

    The value is the suite and the race's process. A race lasts 1.5 s, so on a busy machine it may
    be over before it is found; then the suite starts again.
    """
    command = [vfio_migrate, "check", name, "--json", "--only", "races-set-state", *arguments]
    for _ in range(20):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                child = stop_first_race(process)
                if child:
                    yield process, child
                    return
            finally:
                process.kill()
    raise TimeoutError("the first race was never found")


def stop_first_race(suite):
    """Returns the process that was stopped, None if it is another one or has ended."""
    child = eventually(lambda: child_with_device(suite.pid) or suite.poll() is not None)
    if child is True:
        return None
    process = pathlib.Path(f"/proc/{child}")
    with contextlib.suppress(OSError):
        os.kill(child, signal.SIGSTOP)
        eventually(lambda: "\nState:\tR" not in (process / "status").read_text())
        if RACES[0].encode() in (process / "cmdline").read_bytes() and has_device(child):
            return child
    return None


def eventually(found, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = found()
        if value:
            return value
        time.sleep(0.01)
    raise TimeoutError(found)


def child_with_device(parent):
    for thread in pathlib.Path(f"/proc/{parent}/task").iterdir():
        for child in (thread / "children").read_text(encoding="ascii").split():
            if has_device(child):
                return int(child)
    return None


def has_device(pid):
    """Returns whether a process has a device open, through its group or by its own file."""
    names = "vfio-device", "/dev/vfio/devices/"
    try:
        files = map(os.readlink, pathlib.Path(f"/proc/{pid}/fd").iterdir())
        return any(name in file for file in files for name in names)
    except OSError:
        return False


def is_alive(pid):
    try:
        return "\nState:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def ended(process, status):
    report = json.loads(process.communicate(timeout=200 * SLOWNESS)[0])
    assert process.returncode == status
    assert tuple(check["name"] for check in report["checks"]) == RACES
    return report


def test_a_check_that_is_killed_fails_and_the_next_one_runs(vfio_migrate, bdfs):
    with stopped(vfio_migrate, bdfs[0]) as (process, child):
        os.kill(child, signal.SIGKILL)
        report = ended(process, 5)
    assert of_status(report, "fail") == {RACES[0]: "the check's process ended by signal 9"}
    assert set(of_status(report, "pass")) == {RACES[1]}


def test_a_check_that_does_not_end_fails_and_the_next_one_runs(vfio_migrate, bdfs):
    limit = 20 * SLOWNESS
    with stopped(vfio_migrate, bdfs[0], "--time-limit", str(limit)) as (process, child):
        assert is_alive(child)
        report = ended(process, 5)
    assert not is_alive(child)
    assert of_status(report, "fail") == {RACES[0]: f"the check did not end within {limit} s"}
    assert set(of_status(report, "pass")) == {RACES[1]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_suite_with_a_report(vfio_migrate, bdfs, number):
    with stopped(vfio_migrate, bdfs[0]) as (process, child):
        process.send_signal(number)
        report = ended(process, 1)
    assert report["not_run"] == 2
    assert set(of_status(report, "not-run")) == set(RACES)
    assert not is_alive(child)


def test_a_check_ends_with_the_suite(vfio_migrate, bdfs):
    with stopped(vfio_migrate, bdfs[0]) as (process, child):
        process.kill()
        eventually(lambda: not is_alive(child))


def test_a_pattern_that_names_nothing(vfio_migrate, bdfs):
    check(vfio_migrate, bdfs[0], "--only", "no-such-check", status=2)
