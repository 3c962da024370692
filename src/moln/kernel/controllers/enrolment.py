"""`/controllers/enrolment` on the APIs' port: a machine with a controller's token is given what makes it one. The token is the proof."""

from __future__ import annotations

import logging

import falcon.asgi
import msgspec

from moln.kernel.clock import Clock
from moln.kernel.controllers.heritage import Asked
from moln.kernel.controllers.membership import Controllers
from moln.kernel.errors import Failure
from moln.kernel.nodes.enrolment import Attempts, asked, fail

_log = logging.getLogger("moln.controllers")
_decode = msgspec.json.Decoder(Asked).decode


class ControllerEnrolmentResource:
    def __init__(self, controllers: Controllers, clock: Clock):
        self._controllers = controllers
        self._attempts = Attempts(clock.monotonic)

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        try:
            self._attempts.take(req.remote_addr)
            heritage = await self._controllers.enrol(await asked(req, _decode, "controller"))
            resp.status = "201 Created"
            resp.data = msgspec.json.encode(heritage)
        except Failure as failure:
            _log.warning("a machine at %s may not be a controller: %s", req.remote_addr, failure.message)
            fail(resp, failure)
