"""Nothing that a caller sends is answered with a 500."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.identity.conftest import Keystone

from moln.identity.api.service import routes

ROOTS = ["project", "domain", "user", "group", "role", "service", "endpoint", "region", "auth", "tags", "identity"]
KEYS = ["id", "name", "domain_id", "parent_id", "enabled", "description", "tags", "options", "password", "original_password",
        "default_project_id", "type", "url", "interface", "service_id", "region_id", "region", "parent_region_id", "identity",
        "scope", "methods", "token", "user", "domain", "project", "system", "is_domain", "extra", "links"]  # fmt: skip
NEARLY = {"name": "n", "type": "t", "interface": "public", "url": "http://x", "service_id": "s"}
text = st.sampled_from(["", " ", "default", "RegionOne", "admin", "x" * 300, "a\u0000b", "\U0001f600", "../..", "'; --", "%(x)s", "0"])
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), text)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3), max_leaves=8
)
bodies = st.dictionaries(st.sampled_from(ROOTS), st.dictionaries(st.sampled_from(KEYS), values, max_size=5) | values, max_size=2)
queries = st.dictionaries(
    st.sampled_from(["limit", "marker", "sort_key", "sort_dir", "name", "enabled", "domain_id", "tags", "user.id", "effective",
                     "scope.project.id", "include_subtree", "include_names", "nocatalog"]), text, max_size=3,
)  # fmt: skip
ids = st.sampled_from(["default", "nowhere", "RegionOne", "x" * 300, "%00", "%ff", "é", "a b", "0"])


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_no_input_makes_a_500(keystone: Keystone, data: Any) -> None:
    route = data.draw(st.sampled_from(routes.all))
    path = route.path
    for variable in route.variables:
        path = path.replace(f"{{{variable}}}", data.draw(ids))
    if route.method == "DELETE" and path.endswith("/auth/tokens"):
        return
    root = path.split("/")[2].removesuffix("s") if path.count("/") > 1 else ""
    near = st.fixed_dictionaries({root: st.dictionaries(st.sampled_from(KEYS), values, max_size=5).map(lambda d: NEARLY | d)})
    body, query = data.draw(near | bodies | values), data.draw(queries)
    headers = {"X-Subject-Token": data.draw(st.sampled_from(["", "x", "gAAAAAB"]))}
    answer = await keystone.admin.request(route.method, path, params=query, json=body, headers=headers)
    assert answer.status_code < 500, (route.method, path, query, body, answer.text)
