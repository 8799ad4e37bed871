# SPDX-License-Identifier: GPL-2.0-only
"""The parent and its types in sysfs."""

import errno
import uuid

import pytest

from lib import mediated, modules
from lib.errnos import refused
from lib.mediated import SHARES, available, create, type_of


def everything(parent):
    return {shares: available(parent, shares) for shares in SHARES}


def test_what_a_type_says(parent):
    for shares in SHARES:
        directory = type_of(parent, shares)
        assert (directory / "device_api").read_text() == "vfio-pci\n"
        assert (directory / "name").read_text().startswith("edu, ")
        assert f"one of {shares} " in (directory / "description").read_text()
        assert available(parent, shares) == shares


@pytest.mark.parametrize("shares", SHARES)
def test_the_first_decides_for_all(parent, shares):
    free = everything(parent)
    for number in range(1, shares + 1):
        create(parent, shares)
        expected = {other: 0 for other in SHARES} | {shares: shares - number}
        assert everything(parent) == expected
    for other in SHARES:
        with refused(errno.ENOSPC):
            create(parent, other)
    assert len(mediated.children(parent)) == shares
    mediated.clear(parent)
    assert everything(parent) == free


def test_one_that_goes_makes_room(parent):
    names = [create(parent, 2) for _ in range(2)]
    mediated.remove(names[0])
    assert available(parent, 2) == 1
    create(parent, 2)
    assert available(parent, 2) == 0


@pytest.mark.parametrize("wrong", ["", "1", "x" * 36, "83b8f4f2-509f-382f-3c1e-e6bfe0fa100"])
def test_what_is_no_uuid(parent, wrong):
    with refused(errno.EINVAL):
        (type_of(parent, 1) / "create").write_text(wrong or "\n")
    assert available(parent, 1) == 1


def test_a_uuid_that_is_taken(parent):
    name = str(uuid.uuid4())
    create(parent, 4, name)
    with refused(errno.EEXIST):
        create(parent, 4, name)
    assert available(parent, 4) == 3


def test_parents_are_independent(parent, functions):
    modules.rebind(functions[1], mediated.DRIVER)
    mediated.clear(functions[1])
    create(parent, 1)
    assert available(functions[1], 8) == 8
