"""The guest image that the demo and the tests boot: built here from the distribution's own packages, never downloaded ready-made."""

from moln.guest.build import GUEST_LOGIN, build_guest_image

__all__ = ["GUEST_LOGIN", "build_guest_image"]
