"""Where notices go: a mail server, a webhook. The only user of smtplib."""

import json
import smtplib
import ssl
import urllib.error
from collections.abc import Callable
from email.message import EmailMessage

from node.config import EmailConfig, NotifyConfig, WebhookConfig
from node.errors import PeerError
from node.http import open_url

Send = Callable[[str, str], None]
"""Kind and text of one notice; raises PeerError when it was not taken."""
_TIMEOUT_S = 20.0


def channels_of(settings: NotifyConfig) -> dict[str, Send]:
    """The configured channels by name."""
    channels: dict[str, Send] = {}
    email, webhook = settings.email, settings.webhook
    if email is not None:
        channels["email"] = lambda kind, text: send_email(email, kind, text)
    if webhook is not None:
        channels["webhook"] = lambda kind, text: post(webhook, kind, text)
    return channels


def send_email(settings: EmailConfig, kind: str, text: str) -> None:
    """One mail.

    Raises:
        PeerError: the mail server did not take it.
    """
    mail = EmailMessage()
    mail["Subject"] = f"ironnode: {kind.replace('_', ' ')}"
    mail["From"] = settings.sender
    mail["To"] = ", ".join(settings.to)
    mail.set_content(text + "\n")
    try:
        with smtplib.SMTP(settings.host, settings.port, timeout=_TIMEOUT_S) as server:
            if settings.starttls:
                server.starttls(context=ssl.create_default_context())
            if settings.user is not None and settings.password_file is not None:
                server.login(settings.user, settings.password_file.read_text().strip())
            server.send_message(mail)
    except (OSError, smtplib.SMTPException) as error:  # the answer may quote addresses: its kind is enough
        raise PeerError(f"mail server {settings.host}:{settings.port}: {type(error).__name__}") from error


def post(settings: WebhookConfig, kind: str, text: str) -> None:
    """One POST of JSON: ``kind`` and ``text``.

    Raises:
        PeerError: it was not answered with 2xx. The text does not quote the URL, which may hold a secret.
    """
    body = json.dumps({"source": "ironnode", "kind": kind, "text": text}).encode()
    headers = {"Content-Type": "application/json"}
    try:
        with open_url(settings.url, body, headers, timeout_s=_TIMEOUT_S):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        raise PeerError(f"webhook: answered {error.code}") from error
    except (OSError, ValueError) as error:
        raise PeerError(f"webhook: {type(error).__name__}") from error
