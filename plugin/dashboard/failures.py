"""The failed series by reason, with what to do about each reason."""

from collections.abc import Mapping
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response

from plugin.dashboard.desk import desk_of, page
from sgmri.lifecycle import Reason
from worker import watching

_SHOWN = 10
"""The newest series of each reason."""

_SEND_AGAIN = "Have the series sent again by its source; what was lacking is then received and read."
_SEE_LOG = "Look for the series key in the worker's log; report the bug with the lines."
REMEDIES: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.INCOMPLETE_SERIES: _SEND_AGAIN,
        Reason.TRUNCATED_INSTANCE: _SEND_AGAIN,
        Reason.MALFORMED_INSTANCE: "The source wrote an instance that cannot be parsed; have it exported again.",
        Reason.TOO_LARGE: "It is larger than the limits allow; it cannot be read.",
        Reason.ENGINE_FAILED: "Look at the worker's log and at the model page, then retry.",
        Reason.OUT_OF_MEMORY: "Give the worker more memory, or lower worker.max_kv_bytes, then retry.",
        Reason.ATTEMPTS_EXHAUSTED: "Its readings never ended; look at the worker's log before a retry.",
        Reason.PEER_UNAVAILABLE: "The destination was away for too long; when it is back, retry.",
        Reason.PEER_REJECTS: "The destination must know our AE title and address; set this there, then retry.",
        Reason.STORE_REFUSED: "The destination refused an object; its log says why.",
        Reason.UNDELIVERABLE: "The destination knows none of our object kinds; set delivery.viewers to what it takes.",
        Reason.VIEWER_RULE: "The log names the rule; report it, and take the viewer out of delivery.viewers meanwhile.",
        Reason.COMMITMENT_REFUSED: "The destination does not keep what it took; ask its administrators, then retry.",
        Reason.CANCELLED: "An operator cancelled it; a retry goes on where it stood.",
        Reason.INTERNAL: _SEE_LOG,
    }
)
"""What to do; a reason that is not here has no remedy but a look at the log."""


def overview(request: Request) -> Response:
    """Show the failures."""
    groups = watching.failures(desk_of(request).journal, newest=_SHOWN)
    return page(request, "failures.html", groups=[(one, REMEDIES.get(one.reason, _SEE_LOG)) for one in groups])
