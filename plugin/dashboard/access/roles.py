"""Who a user is, and what a role may."""

import re
from dataclasses import dataclass
from enum import StrEnum

LOCAL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Names of local users; those of an OpenID provider stand behind ``oidc:``, so that neither passes for the other."""


class Role(StrEnum):
    """What a user may do; each may what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, other: "Role") -> bool:
        """Return whether this role may what another may."""
        order = tuple(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who has logged in.

    Parameters
    ----------
    name
        As the audit log calls them.
    role
        What they may do.
    may_see_identity
        Whether they may ask for a patient's identity.
    """

    name: str
    role: Role
    may_see_identity: bool
