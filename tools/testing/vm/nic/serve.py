# SPDX-License-Identifier: GPL-2.0-only
"""Runs on the target of a pair: gives it a virtual function, and starts programs there."""

from lib.qemu import host, versions
from nic.host import Physical, bind


def ready():
    """Makes this host ready to run a guest with a virtual function; returns its address."""
    card = Physical()
    card.set_number(1)
    card.up()
    (function,) = card.functions()
    bind(function)
    versions.prepare()
    return function


if __name__ == "__main__":
    ready()
    host.Manager(("", host.PORT), host.KEY).get_server().serve_forever()
