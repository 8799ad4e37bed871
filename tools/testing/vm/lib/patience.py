# SPDX-License-Identifier: GPL-2.0-only
"""How long things may take: longer on a kernel that checks itself."""

import os

#: What every time limit is to be multiplied by; scripts/vm does the same with its own.
SLOWNESS = 4 if os.environ.get("RVFIO_KERNEL") == "debug" else 1
