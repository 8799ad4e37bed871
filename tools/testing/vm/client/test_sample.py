# SPDX-License-Identifier: GPL-2.0-only
"""The sample driver that Documentation/writing-a-driver.rst explains."""

import json
import struct
import subprocess

import pytest

from lib import modules
from lib.patience import SLOWNESS
from lib.protocols.v2 import MigrationV2
from lib.vfio import Device

pytestmark = [pytest.mark.edu, pytest.mark.physical]

SAMPLE = "sample_vfio_pci"
IDENTIFICATION, LIVENESS, FACTORIAL = 0x00, 0x04, 0x08


@pytest.fixture
def sampled(functions):
    """The addresses of two devices that the sample has; it is gone afterwards."""
    bdfs = functions[:2]
    for bdf in bdfs:
        modules.rebind(bdf, SAMPLE)
    yield bdfs
    for bdf in bdfs:
        modules.unbind(bdf)
    modules.unload(SAMPLE)


def read(device, offset):
    return struct.unpack("I", device.read(0, offset, 4))[0]


def write(device, offset, value):
    device.write(0, offset, struct.pack("I", value))


def test_the_alias_of_the_sample():
    status, output = modules.run("modinfo", "-F", "alias", SAMPLE)
    assert status == 0, output
    assert output.startswith("vfio_pci:v00001234d000011E8")


def test_a_driver_has_the_parameters_of_all_drivers(functions, log):
    """The layer's macro gives them to the sample, which has none of its own, and checks them."""
    status, output = modules.run("modinfo", "-F", "parm", SAMPLE)
    assert status == 0, output
    names = {line.split(":")[0] for line in output.splitlines()}
    assert names == {"data_section_kib", "region_2018", "region_v1", "v2"}

    status, output = modules.run("modprobe", SAMPLE, "data_section_kib=6")
    assert status != 0
    assert "Invalid argument" in output
    assert any(f"{SAMPLE}: data_section_kib must be" in line for line in log.take())
    assert not modules.is_loaded(SAMPLE)

    modules.load(SAMPLE, v2=0)
    try:
        modules.rebind(functions[0], SAMPLE)
        with Device(functions[0]) as device, pytest.raises(OSError):
            MigrationV2(device).save()
    finally:
        modules.unbind(functions[0])
        modules.unload(SAMPLE)


def test_the_sample_moves_a_device(sampled):
    with Device(sampled[0]) as device:
        assert read(device, IDENTIFICATION) == 0x010000ED
        write(device, LIVENESS, 0x12345678)
        image = MigrationV2(device).save()
    for _ in range(2):
        with Device(sampled[1]) as device:
            # Nothing is left of the user before.
            assert read(device, LIVENESS) == 0
            MigrationV2(device).load(image)
            assert read(device, LIVENESS) == 0xEDCBA987


def test_the_sample_hides_the_other_registers(sampled):
    with Device(sampled[0]) as device:
        write(device, FACTORIAL, 5)
        assert read(device, FACTORIAL) == 0


def test_the_sample_refuses_an_image_that_is_damaged(sampled):
    with Device(sampled[0]) as device:
        v2 = MigrationV2(device)
        write(device, LIVENESS, 1)
        image = v2.save()
        device.reset()
        with pytest.raises(OSError):
            v2.load(image[:-1])
        device.reset()
        v2.load(image)
        assert read(device, LIVENESS) == 0xFFFFFFFE


def test_the_sample_passes_the_conformance_suite(vfio_migrate, sampled, count):
    result = subprocess.run(
        [vfio_migrate, "check", sampled[0], "--to", sampled[1], "--json"],
        capture_output=True,
        text=True,
        timeout=280 * SLOWNESS,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    report = json.loads(result.stdout)
    count(f"vfio-migrate check, {SAMPLE}: {report['passed']} passed, {report['failed']} failed")
    assert report["failed"] == 0
