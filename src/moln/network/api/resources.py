"""The seven resources answer the same way: list, show, create (one or many), update, delete. Here is that way."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import falcon.asgi

from moln.kernel.context import POLICIES, RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Invalid
from moln.kernel.http import Reply, Routes
from moln.kernel.http.routes import Params
from moln.kernel.policy import Policy
from moln.network.api.attributes import CALLER, Given, Schema
from moln.network.api.lists import MOST, Asked, asked, links
from moln.network.ops import authority
from moln.network.ops.common import missing
from moln.network.store import rows
from moln.network.store.reads import Table

BULK = 200  # things in one POST, at most
Targeted = tuple[dict[str, Any], authority.Target]  # a view, and what policy is asked about it
Views = Callable[[Reader, RequestContext, list[Any]], Awaitable[list[Targeted]]]
Write = Callable[..., Awaitable[Any]]
PUBLISHED: list[tuple[str, Resource]] = []
"""Every resource that has operations, with the path of its list."""
Within = dict[str, Any] | None  # fields that all things of a list have: their parent, for those that live inside another


class Resource:
    """One resource on the wire.

    views: things as dicts with every attribute, and their policy targets. scope: conditions that a caller who is no administrator
    lists by. first: run before a list is read.
    """

    def __init__(
        self, schema: Schema, path: str, table: Table[Any], views: Views, *, create: Write | None, update: Write | None, delete: Write,
        first: Callable[[RequestContext, Params], Awaitable[None]] | None = None,
    ):  # fmt: skip
        self.schema, self.path, self.table, self.views, self.first = schema, path, table, views, first
        self.create_in, self.update_in, self.delete_in = create, update, delete
        self.guarded: list[str] = []
        self.guarded_by: Policy | None = None  # the policy that this list was made of

    async def list_all(self, ctx: RequestContext, params: Params, within: Within = None, path: str = "") -> dict[str, Any]:
        """path: of the list, where that is not the resource's own."""
        if self.first is not None:
            await self.first(ctx, params)
        query = asked(self.schema, params)
        where = [await self._condition(ctx, *condition) for condition in query.where]
        if within is not None:
            where += [(field, "eq", value) for field, value in within.items()]
        elif not ctx.is_admin and "service" not in ctx.roles:
            where.append(("seen_by", "eq", ctx.project_id or ""))
        things = await self.table.listing.page(
            ctx.db, where, sort=query.sort, marker=query.marker, limit=min(query.limit or MOST, MOST), reverse=query.reverse
        )
        if query.reverse:
            things.reverse()
        found = await self.views(ctx.db, ctx, things)
        shown = [self._trim(ctx, view, target, query) for view, target in found if self._sees(ctx, target)]
        answer: dict[str, Any] = {self.schema.collection: shown}
        if at := links(ctx, f"/network/v2.0/{path or self.path}", params, query, [thing.id for thing in things]):
            answer[f"{self.schema.collection}_links"] = at
        return answer

    async def _condition(self, ctx: RequestContext, name: str, op: str, value: Any) -> tuple[str, str, Any]:
        """A filter whose meaning depends on who asks, or on what is tagged now."""
        if value is CALLER:
            return name, op, ctx.project_id or ""
        if op == "not-all-tags":
            return name, "notin", await rows.tagged_with_all(ctx.db, value)
        return name, op, value

    async def show(self, ctx: RequestContext, id: str, params: Params, within: Within = None) -> dict[str, Any]:
        thing = await self._find(ctx.db, id, within)
        [(view, target)] = await self.views(ctx.db, ctx, [thing])
        if not self._sees(ctx, target):
            raise missing(self.schema.resource, id)
        fields = frozenset(f for f in params.get("fields", []) if f)
        return {self.schema.single: self._trim(ctx, view, target, Asked([], [], None, None, False, fields))}

    async def _find(self, db: Reader, id: str, within: Within) -> Any:
        thing = await self.table.find(db, id)
        if thing is None or any(getattr(thing, field) != value for field, value in (within or {}).items()):
            raise missing(self.schema.resource, id)
        return thing

    async def create(self, ctx: RequestContext, body: dict[str, Any], within: Within = None) -> dict[str, Any]:
        single, many = self.schema.single, self.schema.collection
        if unknown := [key for key in body if key not in (single, many)]:
            raise Invalid(f"Unrecognized attribute(s) '{', '.join(key[:80] for key in unknown)}'")
        if isinstance(body.get(many), list) and body[many]:
            if len(body[many]) > BULK:
                raise Invalid(f"At most {BULK} {many} may be created at once.")
            found = await self._create(
                ctx, [self._object(item.get(single, item) if isinstance(item, dict) else item) for item in body[many]], within
            )
            return {many: found}
        if single not in body:
            raise Invalid("Resource body required")
        return {single: (await self._create(ctx, [self._object(body[single])], within))[0]}

    def _object(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Invalid("Resource body required")
        return value

    async def _create(self, ctx: RequestContext, items: list[dict[str, Any]], within: Within) -> list[dict[str, Any]]:
        given = [self.schema.post(ctx, item) for item in items]
        return await ctx.db.write(self._create_in, ctx, given, within or {})

    async def _create_in(
        self, tx: Transaction, ctx: RequestContext, given: list[Given], within: dict[str, Any]
    ) -> list[dict[str, Any]]:
        assert self.create_in is not None
        made = []
        for item in given:
            fields = dict(item.fields)
            tags = fields.pop("tags", None)
            thing = await self.create_in(tx, ctx, project_id=item.project_id, set_=item.names, **fields, **within)
            if tags:
                await rows.set_tags(tx, thing.id, tags)
            made.append(await self.table.find(tx, thing.id))
        return [self._trim(ctx, view, target, None) for view, target in await self.views(tx, ctx, made)]

    async def update(
        self, ctx: RequestContext, id: str, body: dict[str, Any], revision: int | None, within: Within = None
    ) -> dict[str, Any]:
        single = self.schema.single
        if single not in body or len(body) > 1:
            raise Invalid("Resource body required" if single not in body else "Unrecognized attribute(s)")
        given = self.schema.put(self._object(body[single]))
        return {single: await ctx.db.write(self._update_in, ctx, id, given, revision, within)}

    async def _update_in(
        self, tx: Transaction, ctx: RequestContext, id: str, given: Given, revision: int | None, within: Within
    ) -> dict[str, Any]:
        assert self.update_in is not None
        await self._must_see(tx, ctx, id, within)
        await self.update_in(tx, ctx, id, set_=given.names, revision=revision, **given.fields)
        thing = await self.table.find(tx, id)
        [(view, target)] = await self.views(tx, ctx, [thing])
        return self._trim(ctx, view, target, None)

    async def delete(self, ctx: RequestContext, id: str, revision: int | None, within: Within = None) -> None:
        await ctx.db.write(self._delete_in, ctx, id, revision, within)

    async def _delete_in(self, tx: Transaction, ctx: RequestContext, id: str, revision: int | None, within: Within) -> None:
        await self._must_see(tx, ctx, id, within)
        await self.delete_in(tx, ctx, id, revision=revision)

    async def must_see(self, ctx: RequestContext, id: str) -> authority.Target:
        """What policy is asked about a thing. Raises: NotFound, when the caller may not see it."""
        return await self._must_see(ctx.db, ctx, id)

    async def _must_see(self, tx: Reader, ctx: RequestContext, id: str, within: Within = None) -> authority.Target:
        """What a caller may not see is not there, whatever they would do to it."""
        thing = await self._find(tx, id, within)
        [(_, target)] = await self.views(tx, ctx, [thing])
        if not self._sees(ctx, target):
            raise missing(self.schema.resource, id)
        return target

    def _sees(self, ctx: RequestContext, target: authority.Target) -> bool:
        return authority.sees(ctx, self.schema.resource, target)

    def _trim(self, ctx: RequestContext, view: dict[str, Any], target: authority.Target, query: Asked | None) -> dict[str, Any]:
        """Without attributes that policy hides, or that were not asked for."""
        if self.guarded_by is not ctx.cloud.policy:
            rules = {name: f"get_{self.schema.resource}:{name}" for name in (*self.schema.attributes, *view)}
            self.guarded = [name for name, rule in rules.items() if ctx.cloud.policy.knows(POLICIES["network"], rule)]
            self.guarded_by = ctx.cloud.policy
        for name in self.guarded:
            if name in view and not ctx.allows("network", f"get_{self.schema.resource}:{name}", target):
                del view[name]
        if query is not None and query.fields:
            return {name: value for name, value in view.items() if name in query.fields}
        return view

    async def tags(self, ctx: RequestContext, id: str) -> list[str]:
        shown = await self.show(ctx, id, {"fields": ["tags"]})
        return list(shown[self.schema.single].get("tags", []))

    async def set_tags(self, ctx: RequestContext, id: str, change: Callable[[list[str]], list[str]], verb: str = "update") -> list[str]:
        return await ctx.db.write(self._set_tags_in, ctx, id, change, verb)

    async def _set_tags_in(
        self, tx: Transaction, ctx: RequestContext, id: str, change: Callable[[list[str]], list[str]], verb: str
    ) -> list[str]:
        target = await self._must_see(tx, ctx, id)
        authority.require(ctx, f"{verb}_{self.schema.resource}:tags", target)
        wanted = sorted(set(change((await rows.tags_of(tx, [id])).get(id, []))))
        if len(wanted) > 50:
            raise Invalid("The number of tags exceed the per-resource limit of 50", type="TagsLimit")
        await rows.set_tags(tx, id, wanted)
        await self.table.bump(tx, await self.table.find(tx, id), ctx.now_us)
        return wanted


def expected_revision(request: falcon.asgi.Request) -> int | None:
    """`If-Match: revision_number=N`. Raises: Invalid."""
    header = request.get_header("If-Match")
    if not header:
        return None
    found = re.fullmatch(r"revision_number=(\d{1,18})", header.strip())
    if found is None:
        raise Invalid("Conflicting or unsupported If-Match header: only revision_number=N is understood.")
    return int(found[1])


def publish(routes: Routes, resource: Resource, other_path: str = "") -> None:
    """Declare the resource's operations. other_path: a second name, where clients know one that the api-ref does not tell."""
    path = f"/v2.0/{other_path or resource.path}"
    PUBLISHED.append((path, resource))

    async def list_(ctx: RequestContext, query: Params) -> dict[str, Any]:
        return await resource.list_all(ctx, query)

    async def show(ctx: RequestContext, id: str, query: Params) -> dict[str, Any]:
        return await resource.show(ctx, id, query)

    async def create(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
        return await resource.create(ctx, body)

    async def update(ctx: RequestContext, id: str, body: dict, request: falcon.asgi.Request) -> dict[str, Any]:  # type: ignore[type-arg]
        return await resource.update(ctx, id, body, expected_revision(request))

    async def delete(ctx: RequestContext, id: str, request: falcon.asgi.Request) -> None:
        await resource.delete(ctx, id, expected_revision(request))

    routes.get(path)(list_)
    routes.get(path + "/{id}")(show)
    if resource.create_in is not None:
        routes.post(path, status=201)(create)
    if resource.update_in is not None:
        routes.put(path + "/{id}")(update)
    routes.delete(path + "/{id}")(delete)
    if "tags" in resource.schema.attributes:
        publish_tags(routes, resource, path + "/{id}/tags")


def publish_children(routes: Routes, parent: Resource, resource: Resource, field: str, **fixed: Any) -> None:
    """Declare the operations of things that live inside another. field: where they name it. fixed: what all of them have."""
    path = f"/v2.0/{parent.path}/{{parent_id}}/{resource.path}"
    PUBLISHED.append((path, resource))

    def within(parent_id: str) -> dict[str, Any]:
        return {field: parent_id, **fixed}

    async def list_(ctx: RequestContext, parent_id: str, query: Params) -> dict[str, Any]:
        await parent.must_see(ctx, parent_id)
        return await resource.list_all(ctx, query, within(parent_id), f"{parent.path}/{parent_id}/{resource.path}")

    async def show(ctx: RequestContext, parent_id: str, id: str, query: Params) -> dict[str, Any]:
        await parent.must_see(ctx, parent_id)
        return await resource.show(ctx, id, query, within(parent_id))

    async def create(ctx: RequestContext, parent_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
        await parent.must_see(ctx, parent_id)
        return await resource.create(ctx, body, within(parent_id))

    async def update(ctx: RequestContext, parent_id: str, id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
        await parent.must_see(ctx, parent_id)
        return await resource.update(ctx, id, body, None, within(parent_id))

    async def delete(ctx: RequestContext, parent_id: str, id: str) -> None:
        await parent.must_see(ctx, parent_id)
        await resource.delete(ctx, id, None, within(parent_id))

    routes.get(path)(list_)
    routes.post(path, status=201)(create)
    routes.get(path + "/{id}")(show)
    routes.put(path + "/{id}")(update)
    routes.delete(path + "/{id}")(delete)


def publish_tags(routes: Routes, resource: Resource, path: str) -> None:
    """Declare the operations on a thing's tags."""
    async def list_(ctx: RequestContext, id: str) -> dict[str, Any]:
        return {"tags": await resource.tags(ctx, id)}

    async def replace(ctx: RequestContext, id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
        wanted = _tag_list(body)
        return {"tags": await resource.set_tags(ctx, id, lambda _: wanted)}

    async def add(ctx: RequestContext, id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
        wanted = _tag_list(body)
        return {"tags": await resource.set_tags(ctx, id, lambda have: [*have, *wanted], "create")}

    async def clear(ctx: RequestContext, id: str) -> None:
        await resource.set_tags(ctx, id, lambda _: [], "delete")

    async def has(ctx: RequestContext, id: str, tag: str) -> None:
        if tag not in await resource.tags(ctx, id):
            raise _no_tag(tag)

    async def put(ctx: RequestContext, id: str, tag: str) -> Reply:
        _tag(tag)
        await resource.set_tags(ctx, id, lambda have: [*have, tag])
        return Reply(status=201)

    async def remove(ctx: RequestContext, id: str, tag: str) -> None:
        def without(have: list[str]) -> list[str]:
            if tag not in have:
                raise _no_tag(tag)
            return [t for t in have if t != tag]

        await resource.set_tags(ctx, id, without, "delete")

    routes.get(path)(list_)
    routes.put(path)(replace)
    routes.post(path, status=200)(add)
    routes.delete(path)(clear)
    routes.get(path + "/{tag}", status=204)(has)
    routes.put(path + "/{tag}", status=201)(put)
    routes.delete(path + "/{tag}")(remove)


def _no_tag(tag: str) -> Exception:
    from moln.kernel.errors import NotFound

    return NotFound(f"Tag {tag} could not be found.", type="TagNotFound")


def _tag(tag: Any) -> str:
    if not isinstance(tag, str) or not 0 < len(tag) <= 255 or "," in tag:
        raise Invalid(f"Invalid input for tags. Reason: '{tag}' is not a tag of 1 to 255 characters without a comma.", field="tags")
    return tag


def _tag_list(body: dict[str, Any]) -> list[str]:
    tags = body.get("tags")
    if not isinstance(tags, list):
        raise Invalid("Invalid tags body", field="tags")
    return [_tag(tag) for tag in tags]


def parse_tags(value: Any, name: str) -> list[str]:
    """`tags` of a POST body."""
    return _tag_list({"tags": value or []})
