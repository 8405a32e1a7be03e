"""The ways of an alert: e-mail by SMTP, and a webhook whose receiver can tell that it is ours.

References
----------
RFC 5321, RFC 3207 (SMTP, STARTTLS), RFC 5322 (the message);
https://github.com/standard-webhooks/standard-webhooks (the signature)
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from plugin.alerts import Channel, Message
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import AlertUndelivered, ConfigError
from sgmri.settings_monitoring import Alerts, Email, Webhook
from worker.secret_files import secret_of

_TRIES = 3
_AGAIN_S = 2.0


def channels(alerts: Alerts, environment: Mapping[str, str] = os.environ) -> Iterator[Channel]:
    """Make every channel of the settings.

    Raises
    ------
    ConfigError
        If a secret cannot be read or is none, or a library is not installed.
    """
    if alerts.email.host:
        yield EmailChannel(alerts.email, alerts.timeout_s, environment)
    if alerts.webhook.url:
        yield WebhookChannel(alerts.webhook, alerts.timeout_s, environment)


class EmailChannel:
    """E-mail.

    Parameters
    ----------
    settings
        Server, sender, recipients.
    timeout_s
        Limit for connecting and each answer.
    environment
        Where the password may be.

    Raises
    ------
    ConfigError
        If the password or the authorities' certificates cannot be read.
    """

    name = "e-mail"

    def __init__(self, settings: Email, timeout_s: float, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._password = ""
        if settings.user:
            variable = "SGMRI_ALERTS_SMTP_PASSWORD"
            self._password = secret_of("alerts.email", variable, settings.password_file, environment)
        try:
            self._tls = ssl.create_default_context(cafile=settings.ca_file or None)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"alerts.email.ca_file: expected a PEM file, found {type(error).__name__}") from None

    def send(self, message: Message) -> None:
        """Send it to all recipients."""
        mail = EmailMessage()
        mail["Subject"] = message.subject
        mail["From"] = self._settings.sender
        mail["To"] = ", ".join(self._settings.recipients)
        mail["Date"] = format_datetime(datetime.fromtimestamp(message.at, UTC))
        mail["Message-ID"] = make_msgid(domain="sgmri.invalid")
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        mail.set_content(f"{message.text}\n{RESEARCH_USE_STATEMENT}\n")
        try:
            with self._connection() as server:
                refused = server.send_message(mail)
        except (smtplib.SMTPException, OSError) as error:
            # its text may quote what the server says
            raise AlertUndelivered(
                f"expected a mail server that takes the message, found {type(error).__name__}; check alerts.email"
            ) from None
        if refused:
            raise AlertUndelivered(f"expected all recipients to be taken, found {len(refused)} refused")

    def _connection(self) -> smtplib.SMTP:
        address = (self._settings.host, self._settings.port)
        server: smtplib.SMTP
        if self._settings.security == "tls":
            server = smtplib.SMTP_SSL(*address, timeout=self._timeout_s, context=self._tls)
        else:
            server = smtplib.SMTP(*address, timeout=self._timeout_s)
        try:
            if self._settings.security == "starttls":
                server.starttls(context=self._tls)  # raises where the server has none: no password goes in the clear
            if self._settings.user:
                server.login(self._settings.user, self._password)
        except BaseException:
            server.close()
            raise
        return server


class WebhookChannel:
    """Signed JSON by HTTP POST: the same identifier for each try, so that a receiver can drop what came twice.

    Parameters
    ----------
    settings
        Where to.
    timeout_s
        Limit for connecting and for the answer.
    environment
        Where the signing secret may be.
    sleep
        Waits between two tries.

    Raises
    ------
    ConfigError
        If the secret cannot be read or is none, or httpx is not installed.
    """

    name = "webhook"

    def __init__(
        self,
        settings: Webhook,
        timeout_s: float,
        environment: Mapping[str, str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            import httpx  # an extra
        except ModuleNotFoundError:
            raise ConfigError("expected httpx for alerts.webhook, found none; pip install 'sgmri[alerts]'") from None
        self._httpx = httpx
        self._url = settings.url
        self._timeout_s = timeout_s
        self._sleep = sleep
        variable = "SGMRI_ALERTS_WEBHOOK_SECRET"
        self._key = _key(secret_of("alerts.webhook", variable, settings.secret_file, environment))

    def send(self, message: Message) -> None:
        """Send it, three times at most."""
        body = json.dumps(_document(message)).encode()
        message_id = f"msg_{hashlib.sha256(body).hexdigest()[:32]}"
        # no redirect is followed: whoever answers must not choose where in our network the next request goes
        with self._httpx.Client(timeout=self._timeout_s, follow_redirects=False) as client:
            for attempt in range(_TRIES):
                if attempt:
                    self._sleep(_AGAIN_S * 3.0 ** (attempt - 1))
                try:
                    answer = client.post(self._url, content=body, headers=self._headers(message_id, body))
                except self._httpx.HTTPError as error:
                    found = type(error).__name__
                    continue
                if answer.is_success:
                    return
                found = f"HTTP status {answer.status_code}"
                if answer.status_code < 500 and answer.status_code not in (408, 429):
                    break  # a redirect, or a refusal: it would be the same again
        raise AlertUndelivered(f"expected HTTP status 2xx, found {found}; check alerts.webhook")

    def _headers(self, message_id: str, body: bytes) -> dict[str, str]:
        timestamp = str(int(time.time()))
        signed = b".".join((message_id.encode(), timestamp.encode(), body))
        signature = base64.b64encode(hmac.new(self._key, signed, hashlib.sha256).digest()).decode()
        return {
            "Content-Type": "application/json",
            "User-Agent": "sgmri",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{signature}",
        }


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not 24 <= len(key) <= 64:
        raise ConfigError(
            "expected the secret of alerts.webhook as whsec_ and 24 to 64 bytes in base64 (openssl rand -base64 32), "
            "found another"
        )
    return key


def _document(message: Message) -> dict[str, object]:
    return {
        "type": "sgmri.alert",
        "timestamp": datetime.fromtimestamp(message.at, UTC).isoformat(timespec="milliseconds"),
        "data": {
            "site": message.site,
            "subject": message.subject,
            "text": message.text,
            "alerts": [asdict(line) for line in message.lines],
        },
    }
