"""Nodes on other machines: how they join, what proves them, and until when one is taken for alive."""
