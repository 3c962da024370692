"""SEC-11 (OSSA-2026-004): an import never reads what only the cloud can reach, however its address leads there.

Names that resolve inwards are in tests/image/test_imports.py; here redirects, through the whole API.
"""

from __future__ import annotations

from tests.conftest import Api
from tests.image.web import serving

SECRET = b"only for the cloud itself"


async def test_sec_11_no_hop_of_an_import_leads_inwards(api: Api) -> None:
    with serving() as outside, serving() as inside:
        allowed = api.cloud.areas["image-web"].allowed
        allowed.entries += type(allowed)([f"127.0.0.1:{outside.port}"]).entries
        secret = inside.put("/secret", SECRET)
        metadata = "http://169.254.169.254/latest/meta-data/"
        mapped = f"http://[::ffff:127.0.0.1]:{inside.port}/secret"
        hops = [secret, mapped, f"http://localhost:{inside.port}/secret", metadata, "file:///etc/passwd", "http://0.0.0.0/", "gopher://x/"]
        starts = [outside.redirect(f"/hop{n}", hop) for n, hop in enumerate(hops)]
        starts += [outside.redirect(f"/far{n}", f"{outside.url}/hop{n}") for n in range(len(hops))]
        body = {"name": "x", "disk_format": "raw", "container_format": "bare"}
        for uri in starts:
            image = (await api.member.post("/image/v2/images", json=body)).json()
            asked = {"method": {"name": "web-download", "uri": uri}}
            assert (await api.member.post(f"/image/v2/images/{image['id']}/import", json=asked)).status_code == 202
            await api.settle()
            shown = (await api.member.get(f"/image/v2/images/{image['id']}")).json()
            assert (shown["status"], shown["size"]) == ("queued", None), uri
            task = (await api.member.get(f"/image/v2/images/{image['id']}/tasks")).json()["tasks"][0]
            assert task["status"] == "failure" and SECRET.decode() not in str(task)
        for uri in (secret, mapped, metadata):
            asked = {"method": {"name": "web-download", "uri": uri}}
            assert (await api.member.post(f"/image/v2/images/{image['id']}/import", json=asked)).status_code == 400
        assert inside.asked == []
    held = await api.cloud.areas["image"].inventory()
    assert (held.data, held.bases, held.arriving) == ([], [], [])
