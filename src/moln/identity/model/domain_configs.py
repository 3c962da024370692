"""Configuration of domains (identity v3 api-ref, "Domain configuration"): which options there are, and their defaults."""

from __future__ import annotations

from typing import Any

Config = dict[str, dict[str, Any]]

DEFAULTS: Config = {
    "identity": {"driver": "sql", "list_limit": None},
    "ldap": {
        "url": "ldap://localhost", "user": None, "suffix": "cn=example,cn=com", "query_scope": "one", "page_size": 0,
        "alias_dereferencing": "default", "debug_level": None, "chase_referrals": None, "user_tree_dn": None, "user_filter": None,
        "user_objectclass": "inetOrgPerson", "user_id_attribute": "cn", "user_name_attribute": "sn", "user_mail_attribute": "mail",
        "user_description_attribute": "description", "user_pass_attribute": "userPassword", "user_enabled_attribute": "enabled",
        "user_enabled_invert": False, "user_enabled_mask": 0, "user_enabled_default": "True", "user_attribute_ignore": ["default_project_id"],
        "user_default_project_id_attribute": None, "user_enabled_emulation": False, "user_enabled_emulation_dn": None,
        "user_enabled_emulation_use_group_config": False, "user_additional_attribute_mapping": [], "group_tree_dn": None,
        "group_filter": None, "group_objectclass": "groupOfNames", "group_id_attribute": "cn", "group_name_attribute": "ou",
        "group_members_are_ids": False, "group_member_attribute": "member", "group_desc_attribute": "description",
        "group_attribute_ignore": [], "group_additional_attribute_mapping": [], "group_ad_nesting": False, "tls_cacertfile": None,
        "tls_cacertdir": None, "use_tls": False, "tls_req_cert": "demand", "use_pool": True, "pool_size": 10, "pool_retry_max": 3,
        "pool_retry_delay": 0.1, "pool_connection_timeout": -1, "pool_connection_lifetime": 600, "use_auth_pool": True,
        "auth_pool_size": 100, "auth_pool_connection_lifetime": 60,
    },
}  # fmt: skip
SENSITIVE = {"ldap": frozenset({"password"})}  # kept sealed, and never shown
COMPLIANCE = "security_compliance"  # a group that everybody may read, of the cloud's own settings
COMPLIANCE_OPTIONS = ("password_regex", "password_regex_description")


def is_sensitive(group: str, option: str) -> bool:
    return option in SENSITIVE.get(group, ())


def fault(config: Any, group: str | None = None, option: str | None = None) -> str | None:
    """What is wrong with a configuration that is for all, a group or an option of a domain; None, when nothing is."""
    if not isinstance(config, dict) or not config:
        return "No options specified"
    if option is not None and list(config) != [option]:
        return f"Trying to update option {option}, so that, and only that, option must be specified in the config"
    if option is None and group is not None and list(config) != [group]:
        return f"Trying to update group {group}, so that, and only that, group must be specified in the config"
    whole = {group: config} if option is not None and group is not None else config
    for name, options in whole.items():
        if name not in DEFAULTS:
            return f"Group {name[:64]} is not supported for domain specific configurations"
        if not isinstance(options, dict) or not options:
            return f"The value of group {name} specified in the config should be a dictionary of options"
        for key in options:
            if key not in DEFAULTS[name] and not is_sensitive(name, key):
                return f"Option {key[:64]} in group {name} is not supported for domain specific configurations"
    return None
