"""Glance's service description and the body of its failures: the HTML page that WebOb writes, which clients know how to read."""

from __future__ import annotations

from html import escape

from moln.kernel.context import RequestContext
from moln.kernel.errors import Failure, OverQuota
from moln.kernel.http import Service
from moln.kernel.http.faults import TITLES

PAGE = """<html>
 <head>
  <title>{title}</title>
 </head>
 <body>
  <h1>{title}</h1>
  {message}<br /><br />


 </body>
</html>"""


def page(status: int, message: str) -> bytes:
    """The page of one failure."""
    title = f"{status} {TITLES.get(status, 'Error')}"
    return PAGE.format(title=title, message=escape(message, quote=False)).encode()


def fault(failure: Failure, status: int, ctx: RequestContext | None) -> tuple[bytes, str]:
    return page(status, failure.message), "text/html; charset=UTF-8"


SERVICE = Service("image", "/image", fault, root="/v2", statuses={OverQuota: 413}, exact=True)
