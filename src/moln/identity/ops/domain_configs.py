"""Configuration of domains: kept and shown. Where a domain's users are in a directory, directories.py acts on it."""

from __future__ import annotations

import json
from typing import Any

from moln.identity import settings
from moln.identity.model.domain_configs import COMPLIANCE, COMPLIANCE_OPTIONS, DEFAULTS, Config, fault, is_sensitive
from moln.identity.ops.access import missing, require
from moln.identity.ops.state import directories_changed, of
from moln.identity.store import domain_configs as store
from moln.identity.store import projects as project_store
from moln.identity.store.domain_configs import OPTIONS
from moln.identity.store.holding import hold
from moln.identity.store.projects import PROJECTS
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Forbidden, NotFound


def _absent(domain_id: str, group: str | None = None, option: str | None = None) -> NotFound:
    what = "any options" if group is None else f"group {group}" if option is None else f"option {option} in group {group}"
    return NotFound(f"Could not find {what} in domain configuration for domain {domain_id}.")


async def _require(ctx: RequestContext, verb: str, domain_id: str) -> None:
    require(ctx, f"identity:{verb}_domain_config")
    if await project_store.find_domain(ctx.db, domain_id) is None:
        raise missing("domain", domain_id)


def _shown(rows: list[dict[str, Any]]) -> Config:
    config: Config = {}
    for row in rows:
        if not row["sensitive"]:
            config.setdefault(row["group"], {})[row["option"]] = json.loads(row["value"])
    return config


async def get(ctx: RequestContext, domain_id: str, group: str | None = None, option: str | None = None) -> dict[str, Any]:
    """All groups, or a group, or an option by its name. Raises: Forbidden, NotFound."""
    if group == COMPLIANCE:
        return await _compliance(ctx, domain_id, option)
    await _require(ctx, "get", domain_id)
    config = _shown(await store.of_domain(ctx.db, domain_id))
    return _part(config, group, option, _absent(domain_id, group, option))


def _part(config: Config, group: str | None, option: str | None, absent: NotFound) -> dict[str, Any]:
    """Raises: NotFound."""
    if group is None:
        if not config:
            raise absent
        return config
    if group not in config or (option is not None and option not in config[group]):
        raise absent
    return {group: config[group]} if option is None else {option: config[group][option]}


async def _compliance(ctx: RequestContext, domain_id: str, option: str | None) -> dict[str, Any]:
    """What passwords must be, which everybody may know. Raises: Forbidden, NotFound."""
    require(ctx, "identity:get_security_compliance_domain_config")
    if await project_store.find_domain(ctx.db, domain_id) is None:
        raise missing("domain", domain_id)
    if option is not None and option not in COMPLIANCE_OPTIONS:
        raise Forbidden(f"Reading security compliance option {option[:64]} is not allowed.")
    found: dict[str, Any] = {name: getattr(settings.of(ctx.cloud), name) or None for name in COMPLIANCE_OPTIONS}
    return {COMPLIANCE: found} if option is None else {option: found[option]}


def default(ctx: RequestContext, group: str | None = None, option: str | None = None) -> dict[str, Any]:
    """Raises: Forbidden, NotFound."""
    require(ctx, "identity:get_domain_config_default")
    if (group is not None and group not in DEFAULTS) or (option is not None and option not in DEFAULTS[group or ""]):
        raise Forbidden(f"Reading the default of {group}{'/' + option if option else ''} is not supported.")
    return _part(DEFAULTS, group, option, NotFound("There is no such option."))


async def put(ctx: RequestContext, domain_id: str, config: Any) -> tuple[dict[str, Any], bool]:
    """Replace all there is; whether there was nothing before. Raises: Forbidden, NotFound."""
    await _require(ctx, "create", domain_id)
    if wrong := fault(config):
        raise Forbidden(f"Invalid domain specific configuration: {wrong}.")
    before = await store.of_domain(ctx.db, domain_id)
    await ctx.db.write(_put_in, domain_id, _rows(ctx, domain_id, config), True)
    return _shown(await store.of_domain(ctx.db, domain_id)), not before


def _rows(ctx: RequestContext, domain_id: str, config: Config) -> list[dict[str, Any]]:
    rows = []
    for group, options in config.items():
        for option, value in options.items():
            text, sensitive = json.dumps(value), is_sensitive(group, option)
            if sensitive:
                text = of(ctx.cloud).vault.seal(text.encode(), ctx.now_us // 1_000_000)
            rows.append({"domain_id": domain_id, "group": group, "option": option, "value": text, "sensitive": int(sensitive)})
    return rows


async def _put_in(tx: Transaction, domain_id: str, rows: list[dict[str, Any]], whole: bool) -> None:
    if not await hold(tx, PROJECTS, domain_id):
        raise missing("domain", domain_id)
    directories_changed(tx)
    if whole:
        await tx.delete(OPTIONS, domain_id=domain_id)
    for row in rows:
        await tx.delete(OPTIONS, domain_id=domain_id, group=row["group"], option=row["option"])
        await tx.insert(OPTIONS, row)


async def patch(ctx: RequestContext, domain_id: str, config: Any, group: str | None = None, option: str | None = None) -> dict[str, Any]:
    """Change some options; a group or option that is named has to be there. Raises: Forbidden, NotFound."""
    await _require(ctx, "update", domain_id)
    if group is not None and group not in DEFAULTS:
        raise Forbidden(f"Invalid domain specific configuration: Group {group[:64]} is not supported for domain specific configurations.")
    if wrong := fault(config, group, option):
        raise Forbidden(f"Invalid domain specific configuration: {wrong}.")
    there = await store.of_domain(ctx.db, domain_id)
    if group is not None and not any(row["group"] == group and option in (None, row["option"]) for row in there):
        raise _absent(domain_id, group, option)
    whole: Config = {group: config} if option is not None and group is not None else config
    await ctx.db.write(_put_in, domain_id, _rows(ctx, domain_id, whole), False)
    return _shown(await store.of_domain(ctx.db, domain_id))


async def delete(ctx: RequestContext, domain_id: str, group: str | None = None, option: str | None = None) -> None:
    """Raises: Forbidden, NotFound."""
    await _require(ctx, "delete", domain_id)
    await ctx.db.write(_delete_in, domain_id, group, option)


async def _delete_in(tx: Transaction, domain_id: str, group: str | None, option: str | None) -> None:
    by = {"group": group, "option": option}
    if not await tx.delete(OPTIONS, domain_id=domain_id, **{name: value for name, value in by.items() if value is not None}) and group is not None:
        raise _absent(domain_id, group, option)
    directories_changed(tx)


async def forget_in(tx: Transaction, domain_id: str) -> None:
    directories_changed(tx)
    await tx.delete(OPTIONS, domain_id=domain_id)
