"""Files that a caller wants in its server (`personality`, before 2.57): bounded by quota, found in the config drive."""

from __future__ import annotations

from moln.compute.model.server_requests import InjectedFile
from moln.compute.ops.quotas import QUOTA
from moln.kernel.context import RequestContext
from moln.kernel.errors import OverQuota


async def check(ctx: RequestContext, files: tuple[InjectedFile, ...]) -> None:
    """Raises: OverQuota, in Nova's words."""
    if not files:
        return
    limits = await QUOTA.limits(ctx.db, ctx.project_id or "")
    for name, most, given, what in (
        ("injected_files", limits["injected_files"], len(files), "Maximum number of personality files exceeded"),
        ("injected_file_path_bytes", limits["injected_file_path_bytes"], max(len(f.path.encode()) for f in files),
         f"Personality file path exceeds maximum {limits['injected_file_path_bytes']}"),
        ("injected_file_content_bytes", limits["injected_file_content_bytes"], max(f.size for f in files),
         f"Personality file content exceeds maximum {limits['injected_file_content_bytes']}"),
    ):  # fmt: skip
        if 0 <= most < given:
            raise OverQuota(what, resources=(name,))
