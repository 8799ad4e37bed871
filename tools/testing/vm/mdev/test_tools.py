# SPDX-License-Identifier: GPL-2.0-only
"""Administrators' tools: mdevctl, and vfio-migrate with UUIDs."""

import json
import subprocess
import uuid

import pytest

from lib import mediated, modules


def run(*command, status=0):
    """Runs a command; returns its output."""
    result = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == status, result.stdout
    return result.stdout


@pytest.fixture
def pair(parent):
    return [mediated.create(parent, 2) for _ in range(2)]


def test_mdevctl_shows_the_types(parent):
    (types,) = json.loads(run("mdevctl", "types", "--parent", parent, "--dumpjson"))
    found = {}
    for one in types[parent]:
        found.update(one)
    assert {name: one["available_instances"] for name, one in found.items()} == {
        f"{mediated.DRIVER}-{shares}": shares for shares in mediated.SHARES
    }
    assert all(one["device_api"] == "vfio-pci" for one in found.values())


def test_mdevctl_defines_starts_lists_and_stops(parent):
    name, type_ = str(uuid.uuid4()), f"{mediated.DRIVER}-4"
    run("mdevctl", "define", "--uuid", name, "--parent", parent, "--type", type_)
    assert name in run("mdevctl", "list", "--defined")
    assert mediated.children(parent) == []
    run("mdevctl", "start", "--uuid", name)
    assert mediated.children(parent) == [name]
    line = run("mdevctl", "list")
    assert name in line and parent in line and type_ in line
    run("mdevctl", "stop", "--uuid", name)
    assert mediated.children(parent) == []
    run("mdevctl", "undefine", "--uuid", name)
    assert name not in run("mdevctl", "list", "--defined")


def test_mdevctl_tells_that_no_instance_is_left(parent):
    mediated.create(parent, 1)
    name = str(uuid.uuid4())
    text = run(
        "mdevctl", "start", "--uuid", name, "--parent", parent, "--type", "edu_mdev-1", status=1
    )
    assert "available" in text or "No space" in text


def test_vfio_migrate_lists_both(vfio_migrate, pair):
    lines = run(vfio_migrate, "list").splitlines()
    for name in pair:
        (line,) = [line for line in lines if line.startswith(name)]
        assert "1234:11e8" in line and mediated.DRIVER in line and "RUNNING" in line.upper()


def test_vfio_migrate_tells_about_one(vfio_migrate, pair):
    assert pair[0] in run(vfio_migrate, "info", pair[0])


def test_vfio_migrate_saves_and_restores(vfio_migrate, pair, tmp_path):
    image = tmp_path / "edu.img"
    run(vfio_migrate, "save", pair[0], "-o", image, "--write", "factorial=5")
    assert "factorial = 0x78" in run(vfio_migrate, "restore", pair[1], "-i", image, "--read", "factorial")


def test_vfio_migrate_moves_one_to_another(vfio_migrate, pair):
    text = run(vfio_migrate, "run", "--from", pair[0], "--to", pair[1])
    assert "memory equal" in text


def test_vfio_migrate_moves_one_to_a_physical_device(vfio_migrate, pair, functions):
    modules.rebind(functions[1], modules.VARIANT)
    for places in ((pair[0], functions[1]), (functions[1], pair[0])):
        text = run(vfio_migrate, "run", "--from", places[0], "--to", places[1])
        assert "memory equal" in text


def test_what_is_no_device_is_said(vfio_migrate, parent):
    missing = str(uuid.uuid4())
    assert f"no device {missing}" in run(vfio_migrate, "info", missing, status=3)
    assert "UUID" in run(vfio_migrate, "info", "83b8f4f2-509f", status=2)
