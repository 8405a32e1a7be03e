"""Who may use the dashboard: log-in, roles, sessions, tokens of forms, headers, rates.

The application takes :meth:`Access.middleware` and :meth:`Access.routes`, and is served by :meth:`Access.serve`. Its
pages ask :func:`user_of`, guard endpoints by :func:`requires`, and put :func:`csrf_token` into every form (field
``csrf``) or header (``X-CSRF-Token``).
"""

from plugin.dashboard.access.composition import Access
from plugin.dashboard.access.identity import reveal_identity
from plugin.dashboard.access.roles import Role, User
from plugin.dashboard.access.visits import csrf_token, limits_asks, requires, user_of

__all__ = ["Access", "Role", "User", "csrf_token", "limits_asks", "requires", "reveal_identity", "user_of"]
