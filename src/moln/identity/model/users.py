"""Users and groups (identity v3 api-ref, "Users" and "Groups")."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

MAX_PASSWORD = 4096  # characters
SWITCHES = (
    "ignore_change_password_upon_first_use", "ignore_password_expiry", "ignore_lockout_failure_attempts", "lock_password",
    "ignore_user_inactivity", "multi_factor_auth_enabled",
)  # fmt: skip
RULES = "multi_factor_auth_rules"


class User(Struct, frozen=True):
    """Who may ask for tokens. tokens_from: tokens issued before it are void, µs UTC. extra: what else the creator wrote.

    password_set_at, password_expires_at: µs UTC; the first is None where there is no password.
    """

    id: str
    name: str
    domain_id: str
    enabled: bool = True
    default_project_id: str | None = None
    tokens_from: int = 0
    password_set_at: int | None = None
    password_expires_at: int | None = None
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}

    def may(self, option: str) -> bool:
        """Whether an option is on."""
        return self.options.get(option) is True

    @property
    def expires_at(self) -> int | None:
        """When the password expires for this user."""
        return None if self.may("ignore_password_expiry") else self.password_expires_at

    @property
    def rules(self) -> list[list[str]]:
        """Any one of these sets of methods proves the user; empty: any method does."""
        if self.options.get("multi_factor_auth_enabled") is False:
            return []
        return [rule for rule in self.options.get(RULES) or [] if rule]


def option_fault(options: dict[str, Any]) -> str | None:
    """What is wrong with a user's options; None, when nothing is. A None takes an option away."""
    for name, value in options.items():
        if value is None:
            continue
        if name in SWITCHES:
            if not isinstance(value, bool):
                return f"options/{name} must be true, false or null"
        elif name == RULES:
            if not isinstance(value, list) or len(value) > 32:
                return f"options/{name} must be a list of lists of methods"
            for rule in value:
                if not isinstance(rule, list) or len(rule) > 8 or not all(isinstance(method, str) for method in rule):
                    return f"options/{name} must be a list of lists of methods"
        else:
            return f"options has no {name[:64]!r}"
    return None


class Group(Struct, frozen=True):
    """Users of one domain who share role assignments."""

    id: str
    name: str
    domain_id: str
    description: str = ""
    extra: dict[str, Any] = {}
