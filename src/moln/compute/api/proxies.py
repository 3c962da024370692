"""Nova's views of other areas, declared by one import: they end at the microversion that removed them."""

from moln.compute.api import proxy_baremetal, proxy_floating_ips, proxy_images, proxy_networks, proxy_security_groups, proxy_volumes

__all__ = ["proxy_baremetal", "proxy_floating_ips", "proxy_images", "proxy_networks", "proxy_security_groups", "proxy_volumes"]
