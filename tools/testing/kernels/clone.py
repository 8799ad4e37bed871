# SPDX-License-Identifier: GPL-2.0-only
"""Where things are in the clone."""

from pathlib import Path

CLONE = Path(__file__).resolve().parents[3]
SCRIPTS = CLONE / "scripts"
