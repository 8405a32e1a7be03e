"""Send instances over the web: STOW-RS, with QIDO-RS as the proof that they are there.

References
----------
PS3.18 10.5 (Store), 10.6 (Search), I.2 (Store Instances Response: Failure Reasons)
"""

import logging
import ssl
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter

from dicom_io.scu import PROBE_TIMEOUT_S, Refusal, Sendable
from dicom_io.statuses import FAILURE_REASONS, HTTP_RESPONSES, Outcome, outcome_of
from dicom_io.tls import Renewed, client_context
from sgmri.errors import PeerBusy, PeerUnavailable, StoreRefused
from sgmri.settings_tls import OutletTls

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
_NOT_AUTHORISED, _CANNOT_UNDERSTAND = 0x0124, 0xC000
_STATUSES = {401: _NOT_AUTHORISED, 403: _NOT_AUTHORISED, 409: 0x0111, 413: 0xA700, 415: 0x0122}
"""HTTP status -> DIMSE status of the same meaning, for a refusal without a word on single instances."""
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)
"""What pydicom and the client raise where an answer is no DICOM JSON."""
_RETRY_LATER = "it is tried again"


class StowUserAgent:
    """Stores at one origin server, on a connection that stays open from one call to the next.

    Parameters
    ----------
    url
        Root of the DICOMweb service.
    authorisation
        Value of the Authorization header; empty: none is sent.
    timeout_s
        Limit for connecting, and for each response.
    tls
        How https is secured; None: by Python's defaults and the authorities of the package certifi.

    Raises
    ------
    ConfigError
        If a file of ``tls`` cannot be used.
    """

    def __init__(
        self, url: str, *, authorisation: str = "", timeout_s: float = 30.0, tls: OutletTls | None = None
    ) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc would overrule the authorisation
        if authorisation:
            self._session.headers["Authorization"] = authorisation
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._tls: Renewed | None = None
        if tls is not None and self._url.startswith("https:"):
            self._session.verify = tls.ca or True
            self._tls = Renewed(partial(client_context, tls, where="destination by STOW-RS"), tls.files)
            self._adapter = _SecureAdapter(self._tls.context(), tls)
            self._session.mount("https://", self._adapter)

    def store(self, instances: Sequence[Sendable]) -> Iterator[tuple[Sendable, Refusal | None]]:
        """Store instances in one request.

        Parameters
        ----------
        instances
            What, all of one study.

        Yields
        ------
        Each instance, and why the server did not take it, for now (PeerBusy) or for good; None where it took it.

        Raises
        ------
        PeerUnavailable
            If the server does not answer, or answers that it cannot now.
        """
        if not instances:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values are the receiver's business
            datasets = [dcmread(instance.path) for instance in instances]
            # One body: a chunked one is more than some servers can read
            client = self.client(chunk_size=1 << 40)
            try:
                outcomes = self.asked(lambda: _outcomes(client.store_instances(datasets)), _refused_outcomes)
            except StoreRefused as refusal:
                yield from ((instance, refusal) for instance in instances)
                return
        for instance in instances:
            yield instance, _refusal(outcomes.get(instance.sop_instance_uid))

    def probe(self) -> None:
        """Ask for one study, quickly; raises PeerUnavailable if there is no answer, or one that speaks of a fault."""
        client = self.client(timeout_s=min(self._timeout_s, PROBE_TIMEOUT_S))
        try:
            self.asked(lambda: client.search_for_studies(limit=1))
        except StoreRefused:
            _log.debug("the destination is there, though it does not let us search")

    def held(self, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
        """Return which SOP instances of a series the server lists (QIDO-RS).

        Raises
        ------
        PeerUnavailable
            If it does not answer.
        StoreRefused
            If it does not let us search.
        """
        client = self.client()
        return self.asked(
            lambda: frozenset(
                str(uid)
                for match in client.search_for_instances(study_instance_uid, series_instance_uid)
                for uid in match["00080018"]["Value"]
            )
        )

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def client(self, *, timeout_s: float | None = None, chunk_size: int = 1 << 20) -> DICOMwebClient:
        """Return a client of the connection; what it raises becomes one of our errors in :meth:`asked`."""
        if self._tls is not None:
            self._adapter.use(self._tls.context())
        client = DICOMwebClient(
            self._url,
            session=self._session,
            timeout=timeout_s or self._timeout_s,
            chunk_size=chunk_size,
            permissive_uid=True,  # old scanners have UIDs with leading zeros, which occur
        )
        client.set_http_retry_params(retry=False)  # the journal knows when to try again
        return client

    def asked(self, ask: Callable[[], _T], refused: Callable[[requests.Response], _T] | None = None) -> _T:
        """Ask, with every failure as one of our errors; ``refused`` may still find an answer in a refusal."""
        try:
            return ask()
        except requests.HTTPError as error:
            assert error.response is not None
            return (refused or _refuse)(error.response)
        except requests.JSONDecodeError as error:
            raise _unreadable(error) from None
        except requests.RequestException as error:
            raise PeerUnavailable(
                f"expected an answer of the destination, found {type(error).__name__}; check its url, {_RETRY_LATER}"
            ) from None
        except _UNREADABLE as error:
            raise _unreadable(error) from None


def _unreadable(error: Exception) -> PeerBusy:
    return PeerBusy(f"expected DICOM JSON from the destination, found {type(error).__name__}; {_RETRY_LATER}")


class _SecureAdapter(HTTPAdapter):
    """Connections by a context of ours, which urllib3 gives the session's authorities."""

    def __init__(self, context: ssl.SSLContext, tls: OutletTls) -> None:
        self._context = context
        self._tls = tls
        super().__init__()

    def use(self, context: ssl.SSLContext) -> None:
        """Use another context for connections to come; those that are open are closed if it is another one."""
        if context is not self._context:
            self._context = context
            self.poolmanager.clear()
            self.init_poolmanager(self._pool_connections, self._pool_maxsize, block=self._pool_block)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make the pools of connections."""
        options["ssl_context"] = self._context
        if self._tls.server_name:
            options["server_hostname"] = self._tls.server_name
        if not self._tls.check_name:
            options["assert_hostname"] = False
        super().init_poolmanager(*arguments, **options)


def _refuse(response: requests.Response) -> NoReturn:
    status = response.status_code
    if outcome_of(status, HTTP_RESPONSES) is Outcome.TRY_AGAIN:
        raise PeerBusy(f"the destination cannot do it now (HTTP status {status}); {_RETRY_LATER}")
    raise StoreRefused(
        f"the destination refused with HTTP status {status}; check its url, its rights and its limits",
        _STATUSES.get(status, _CANNOT_UNDERSTAND),
    )


def _refused_outcomes(response: requests.Response) -> dict[str, int]:
    """Return what a refusal says of single instances (409: none was stored, PS3.18 10.5.3.1)."""
    try:
        outcomes = _outcomes(Dataset.from_json(response.json()))
    except _UNREADABLE:
        outcomes = {}
    return outcomes or _refuse(response)


def _refusal(status: int | None) -> Refusal | None:
    if status is None:
        return PeerBusy(f"the destination does not say what became of an object; {_RETRY_LATER}")
    outcome = outcome_of(status, FAILURE_REASONS)
    if status == 0x0000 or outcome is Outcome.STORED:
        return None
    if outcome is Outcome.TRY_AGAIN:
        return PeerBusy(f"the destination cannot store an object now (reason 0x{status:04X}); {_RETRY_LATER}")
    return StoreRefused(f"the destination refused an object with reason 0x{status:04X}", status)


def _outcomes(answer: Dataset) -> dict[str, int]:
    """Return SOP Instance UID -> status, 0 for what was stored (PS3.18 10.5.3.2)."""
    outcomes = {str(item.ReferencedSOPInstanceUID): 0 for item in answer.get("ReferencedSOPSequence") or ()}
    for item in answer.get("FailedSOPSequence") or ():
        outcomes[str(item.ReferencedSOPInstanceUID)] = int(item.get("FailureReason") or _CANNOT_UNDERSTAND)
    return outcomes
