# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-migrate watch` follows devices that another process migrates."""

import signal

import pytest

from client.watching import INSTANCES, run
from lib import modules
from lib.protocols import region_2018

pytestmark = pytest.mark.edu


@pytest.fixture
def watch(looking_on):
    """Starts watches, and ends those that still run."""
    return lambda *arguments: looking_on("watch", *arguments)


def test_samples_follow_a_migration(bdfs, pair, rng, watch):
    source, target = pair
    source.randomise(rng)
    seen, there = (watch(bdf, "--interval", "20ms") for bdf in bdfs)
    assert seen.first["state"] == "RUNNING" and seen.first["protocol"] == "none"
    region = source.region
    region.state = region_2018.SETUP
    region.state = region_2018.PRECOPY
    assert seen.until_state("PRE_COPY")["protocol"] == "region-2018"
    image = region.drain()
    region.state = region_2018.STOPNCOPY
    pending = seen.until_state("STOP_COPY")["pending_bytes"]
    assert pending == sum(region.pending()) > 0
    image += region.drain()
    region.state = region_2018.SAVE_COMPLETED
    saved = seen.until(lambda sample: sample["images_saved"] > seen.first["images_saved"])
    assert saved["pending_bytes"] == 0

    target.region.load(image, run=False)
    loaded = there.until(lambda sample: sample["images_loaded"] > there.first["images_loaded"])
    target.region.state = region_2018.RUNNING
    there.until_state("RUNNING")
    assert any(sample["saved_per_second"] for sample in seen.records)
    assert any(sample["loaded_per_second"] for sample in there.records)

    for what, last, watched, guest in (
        ("saved", saved, seen, source),
        ("loaded", loaded, there, target),
    ):
        assert last[f"images_{what}"] - watched.first[f"images_{what}"] == 1
        assert last[f"bytes_{what}"] - watched.first[f"bytes_{what}"] == len(image)
        times = [record["time"] for record in watched.records]
        assert times == sorted(times)
        # A watch opens no device: it is still its user's.
        assert watched.end() == 0
        assert guest.region.state in (region_2018.SAVE_COMPLETED, region_2018.RUNNING)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_events_come_from_an_instance_that_goes(bdfs, pair, watch, number):
    source, target = pair
    # The next sample is far off, so all records are events.
    seen = watch(bdfs[0], "--interval", "60m", "--events")
    instance = INSTANCES / f"vfio-migrate-{seen.process.pid}"
    assert instance.is_dir()
    image = source.region.save()
    target.region.load(image)
    source.region.state = region_2018.RUNNING
    seen.until(lambda event: event["event"] == "rvfio_state" and event["fields"]["to"] == "RUNNING")
    assert seen.end(number) == 0
    assert not instance.exists()

    changes = seen.fields("rvfio_state")
    states = [change["to"] for change in changes]
    assert states.index("PRE_COPY") < states.index("STOP_COPY")
    assert all(one["to"] == other["from"] for one, other in zip(changes, changes[1:]))
    assert {change["protocol"] for change in changes} == {"region-2018"}
    buffers = seen.fields("rvfio_buffer")
    # The target's events are not among them.
    assert {buffer["direction"] for buffer in buffers} == {"save"}
    assert sum(buffer["bytes"] for buffer in buffers) == len(image)
    start = seen.first["time"]
    assert all(start - 1 < record["time"] < start + 60 for record in seen.records)


def test_an_instance_goes_when_nobody_reads(bdfs, watch, pair):
    seen = watch(bdfs[0], "--interval", "60m", "--events")
    seen.process.stdout.close()
    assert seen.process.wait() == 0
    assert not list(INSTANCES.glob("vfio-migrate-*"))


def test_without_a_terminal_there_is_a_line_for_each_change(bdfs, guest, vfio_migrate):
    status, output, errors = run(vfio_migrate, "watch", bdfs[0], "--interval", "10ms", "--count", "5")
    assert (status, errors) == (0, "")
    (line,) = output.splitlines()
    assert " state=RUNNING protocol=none " in line


@pytest.mark.physical
def test_a_device_that_loses_its_driver_ends_it(bdfs, watch):
    seen = watch(bdfs[0], "--interval", "20ms")
    modules.unbind(bdfs[0])
    assert "not bound" in seen.until(lambda record: "error" in record)["error"]["message"]
    assert seen.process.wait() == 3


@pytest.mark.physical
def test_what_is_missing_is_said(bdfs, vfio_migrate):
    def refused(*arguments, **options):
        status, output, errors = run(vfio_migrate, "watch", bdfs[0], *arguments, **options)
        assert (status, output) == (3, "")
        return errors

    def without(path):
        return ("unshare", "--mount", "sh", "-c", f'umount -R -l {path} && exec "$@"', "sh")

    assert "run as root" in refused(user="nobody")
    errors = refused(within=without("/sys/kernel/debug"))
    assert "mount -t debugfs debugfs /sys/kernel/debug" in errors
    errors = refused("--events", within=without("/sys/kernel/tracing"))
    assert "mount -t tracefs tracefs /sys/kernel/tracing" in errors
    modules.unbind(bdfs[0])
    assert f"scripts/bind {bdfs[0]}" in refused()
