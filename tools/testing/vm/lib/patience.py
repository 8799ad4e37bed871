# SPDX-License-Identifier: GPL-2.0-only
"""How long operations may take: longer on a kernel that checks itself."""

import os

#: The factor of every time limit; scripts/vm does the same with its own.
SLOWNESS = 4 if os.environ.get("RVFIO_KERNEL") == "debug" else 1
