# SPDX-License-Identifier: GPL-2.0-only
"""Runs on the target of a pair: starts programs there for the tests."""

from lib import modules
from lib.qemu import host, versions


def main():
    modules.load()
    for bdf in modules.find_devices():
        modules.bind(bdf)
    versions.prepare()
    versions.idle()
    host.Manager(("", host.PORT), host.KEY).get_server().serve_forever()


if __name__ == "__main__":
    main()
