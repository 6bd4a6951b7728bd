"""Test support: real MRML from slicer-core, and stand-ins for what that wheel lacks."""

import sys

from support.slicer_standin import i18n

# Host code says all it says through it, also where no other stand-in is needed.
sys.modules.setdefault("slicer.i18n", i18n)
