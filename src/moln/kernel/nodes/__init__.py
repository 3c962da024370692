"""Nodes on other machines: how they join, what proves them, and until when one is taken for alive."""


def declare_tables() -> None:
    """Every cloud has their tables; the rest is imported where there are such nodes."""
    from moln.kernel.controllers import states  # noqa: F401
    from moln.kernel.controllers import tables as controllers  # noqa: F401
    from moln.kernel.link import leases  # noqa: F401
    from moln.kernel.nodes import tables  # noqa: F401
    from moln.kernel.notifications import tables as notifications  # noqa: F401
