"""/traits and /resource_classes."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body, Params, Reply
from moln.placement.api.routes import answer, check_query, routes
from moln.placement.ops import names as ops


class ClassBody(Body):
    name: str


@routes.get("/traits", since="1.6")
async def list_traits(ctx: RequestContext, query: Params) -> Reply:
    check_query(ctx, query, {"name": (1, 6), "associated": (1, 6)})
    among, prefix, associated = None, "", query.get("associated", [None])[-1]
    if "name" in query:
        text = query["name"][-1]
        kind, colon, value = text.partition(":")
        if not colon:
            raise Invalid("Badly formatted name parameter. Expected name query string parameter in form: "
                          f'?name=[in|startswith]:[name1,name2|prefix]. Got: "{text[:200]}"')  # fmt: skip
        if kind == "in":
            among = set(value.split(","))
        elif kind == "startswith":
            prefix = value
    if associated is not None and associated.lower() not in ("true", "false"):
        raise Invalid('The query parameter "associated" only accepts "true" or "false"', field="associated")
    wanted = None if associated is None else associated.lower() == "true"
    return answer(ctx, {"traits": await ops.list_traits(ctx, among=among, prefix=prefix, associated=wanted)})


@routes.get("/traits/{name}", status=204, since="1.6")
async def show_trait(ctx: RequestContext, name: str) -> Reply:
    await ops.show_trait(ctx, name)
    return answer(ctx)


@routes.put("/traits/{name}", status=204, since="1.6")
async def update_trait(ctx: RequestContext, name: str) -> Reply:
    made = await ops.ensure_trait(ctx, name)
    return answer(ctx, status=201 if made else 204, location=f"/placement/traits/{name}")


@routes.delete("/traits/{name}", since="1.6")
async def delete_trait(ctx: RequestContext, name: str) -> None:
    await ops.remove_trait(ctx, name)


def _class(name: str) -> dict[str, Any]:
    return {"name": name, "links": [{"rel": "self", "href": f"/placement/resource_classes/{name}"}]}


@routes.get("/resource_classes", since="1.2")
async def list_classes(ctx: RequestContext) -> Reply:
    return answer(ctx, {"resource_classes": [_class(name) for name in await ops.list_classes(ctx)]})


@routes.post("/resource_classes", status=201, since="1.2")
async def create_class(ctx: RequestContext, body: ClassBody) -> Reply:
    await ops.create_class(ctx, body.name)
    return Reply(headers={"location": f"{ctx.settings.public_url}/placement/resource_classes/{body.name}"})


@routes.get("/resource_classes/{name}", since="1.2")
async def show_class(ctx: RequestContext, name: str) -> Reply:
    await ops.show_class(ctx, name)
    return answer(ctx, _class(name))


@routes.put("/resource_classes/{name}", since="1.2", until="1.6")
async def rename_class(ctx: RequestContext, name: str, body: ClassBody) -> Reply:
    await ops.rename_class(ctx, name, body.name)
    return answer(ctx, _class(body.name))


@routes.put("/resource_classes/{name}", status=204, since="1.7")
async def update_class(ctx: RequestContext, name: str) -> Reply:
    made = await ops.ensure_class(ctx, name)
    return Reply(None, 201 if made else 204, {"location": f"{ctx.settings.public_url}/placement/resource_classes/{name}"})


@routes.delete("/resource_classes/{name}", since="1.2")
async def delete_class(ctx: RequestContext, name: str) -> None:
    await ops.remove_class(ctx, name)
