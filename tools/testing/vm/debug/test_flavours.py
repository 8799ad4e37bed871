# SPDX-License-Identifier: GPL-2.0-only
"""Both drivers at once: each has a copy of the generic code, and lockdep checks what they share."""

import pytest

from lib import mediated, modules
from lib.clients import Client

pytestmark = pytest.mark.edu


def test_a_device_of_each_driver(bdfs, functions, rng):
    """Both migrate, and the kernel logs nothing, in particular nothing about their locks."""
    parent = functions[2]
    modules.rebind(parent, mediated.DRIVER)
    try:
        with Client(bdfs[0]) as physical, Client(mediated.create(parent, 2)) as virtual:
            physical.works(rng)
            virtual.works(rng)
    finally:
        mediated.clear(parent)
        modules.rebind(parent, modules.VARIANT)
