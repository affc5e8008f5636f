"""Who was told of what, and what is still to be told: one small file, so that a restart neither repeats nor forgets."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from node.config import NotifyConfig
from node.errors import PeerError
from node.jobs.durable import write_durably
from node.notify.channels import Send
from node.notify.troubles import Trouble
from node.ops.events import Event, emit

_HOUR = timedelta(hours=1)
_RETRY_AFTER = timedelta(minutes=1)
_MOST_WAITING = 500


@dataclass
class _Waiting:
    channel: str
    kind: str
    text: str
    not_before: datetime


class NoticeDesk:
    """Takes troubles, hands notices to the channels, tries again what they did not take."""

    def __init__(self, root: Path, settings: NotifyConfig, channels: Mapping[str, Send]) -> None:
        self._path = root / "notices.json"
        self._settings, self._channels = settings, channels
        self._told: dict[str, datetime] = {}
        self._waiting: list[_Waiting] = []
        self._sent: dict[str, list[datetime]] = {name: [] for name in channels}
        self._load()

    def step(self, troubles: Iterable[Trouble], now: datetime) -> None:
        """Enter what is new, then send what is due.

        Raises:
            StorageError: the file cannot be written; then nothing was sent.
        """
        repeat = timedelta(seconds=self._settings.repeat_after_s)
        self._told = {key: at for key, at in self._told.items() if now - at < repeat}
        new = [t for t in troubles if t.key not in self._told]
        for trouble in new:
            self._told[trouble.key] = now
            self._waiting += [_Waiting(name, trouble.kind, trouble.text, now) for name in self._channels]
        del self._waiting[:-_MOST_WAITING]
        if new:
            self._save()
        due = [notice for notice in self._waiting if notice.not_before <= now]
        if any([self._send(notice, now) for notice in due]):
            self._save()

    def _send(self, notice: _Waiting, now: datetime) -> bool:
        sent = self._sent.setdefault(notice.channel, [])
        sent[:] = [at for at in sent if now - at < _HOUR]
        if len(sent) >= self._settings.max_per_hour:
            return False
        try:
            self._channels[notice.channel](notice.kind, notice.text)
        except PeerError as error:
            notice.not_before = now + _RETRY_AFTER
            emit(Event.NOTICE_FAILED, channel=notice.channel, kind=notice.kind, error=str(error))
            return False
        sent.append(now)
        self._waiting.remove(notice)
        emit(Event.NOTICE_SENT, channel=notice.channel, kind=notice.kind)
        return True

    def _load(self) -> None:
        try:
            state: dict[str, Any] = json.loads(self._path.read_text())
            self._told = {key: datetime.fromisoformat(at) for key, at in state["told"].items()}
            self._waiting = [
                _Waiting(channel, kind, text, datetime.fromisoformat(at))
                for channel, kind, text, at in state["waiting"]
                if channel in self._channels
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return  # none yet, or damaged: what is wrong is told anew

    def _save(self) -> None:
        told = {key: at.isoformat() for key, at in self._told.items()}
        waiting = [[n.channel, n.kind, n.text, n.not_before.isoformat()] for n in self._waiting]
        write_durably(self._path, json.dumps({"told": told, "waiting": waiting}).encode())
