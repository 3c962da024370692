"""Consoles in the browser: our pages, and the libraries beneath them, which npm brings (docs/areas/console.md)."""
