"""The doorbell: Celery tells a worker the id of a job that may be due. The only importer of Celery and kombu.

A message that is lost, repeated or late does no harm: the ledger decides who does what. Settings follow the
measurements of docs/decisions/0003: late acknowledgement, rejection when a worker is lost, prefetch 1, endless
reconnection.
"""

import logging
import os
import signal
import socket
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import billiard.util
from celery import Celery, bootsteps, signals
from celery.exceptions import SecurityWarning
from celery.worker import state
from kombu import Connection
from kombu.exceptions import OperationalError

from node.config import QueueConfig
from node.errors import BrokerError, TimeLimitError
from node.ops.events import Event, emit

TASK = "ironnode.process"
QUEUE = "ironnode"
_SOFT_LIMIT = 0.95  # of the hard limit: the run ends with a named error before its process is killed
_POOL_PROCESS_START_S = 300.0  # a pool process compiles or loads its kernels before it takes work
_CONNECT_TIMEOUT_S = 5.0
_SOCKET_TIMEOUT_S = 20.0
_WATCH_EVERY_S = 2.0
_IDLE_LOOKS = 3

Handler = Callable[[str, str], object]
"""Takes a job id and the name of this run; what it returns is not looked at."""


def _make_app(broker_url: str, queue: QueueConfig) -> Celery:
    app = Celery("ironnode", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=queue.time_limit_s,
        task_soft_time_limit=queue.time_limit_s * _SOFT_LIMIT,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=_POOL_PROCESS_START_S,
        worker_enable_remote_control=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=_CONNECT_TIMEOUT_S,
        broker_transport_options={
            "visibility_timeout": queue.visibility_timeout_s,
            "socket_connect_timeout": _CONNECT_TIMEOUT_S,
            "socket_timeout": _SOCKET_TIMEOUT_S,
        },
    )
    return app


class Doorbell:
    """Tells the workers about jobs."""

    def __init__(self, broker_url: str, queue: QueueConfig) -> None:
        self._app = _make_app(broker_url, queue)
        self._connection: Connection | None = None

    def waiting(self) -> int:
        """How many messages no worker has taken yet.

        Raises:
            BrokerError: the broker does not answer.
        """
        with self._answered() as connection, connection.channel() as channel:
            return int(channel.queue_declare(queue=QUEUE, durable=True).message_count)

    def ring(self, job_ids: Sequence[str]) -> None:
        """Announce jobs.

        Raises:
            BrokerError: the broker does not answer; some may have been announced.
        """
        with (
            self._answered() as connection,
            connection.channel() as channel,
            self._app.amqp.Producer(channel) as producer,
        ):
            for job_id in job_ids:
                self._app.send_task(TASK, args=[job_id], producer=producer, retry=False, ignore_result=True)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.release()
            self._connection = None

    @contextmanager
    def _answered(self) -> Iterator[Connection]:
        if self._connection is None:
            self._connection = self._app.connection_for_write()
        errors: tuple[type[BaseException], ...] = (
            OperationalError,
            OSError,
            *self._connection.connection_errors,
            *self._connection.channel_errors,
        )
        try:
            yield self._connection
        except errors as error:
            self.close()
            raise BrokerError(f"the broker does not answer: {error}") from error


class _Watch(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Ends a worker that takes no messages although some wait; the supervisor starts it afresh.

    A worker whose broker dies while it runs a job cannot acknowledge that job's message, goes on counting it against
    its prefetch of 1 and never takes another (seen with a killed broker; celery issues 8030, 8091, 10205).
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, *, doorbell: Doorbell, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._doorbell = doorbell
        self._timer: Any = None
        self._idle_looks = 0

    def start(self, parent: Any) -> None:
        """The worker consumes (again)."""
        self._idle_looks = 0
        self._timer = parent.timer.call_repeatedly(_WATCH_EVERY_S, self._look)

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """The worker does not consume for now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        try:
            idle = not state.reserved_requests and self._doorbell.waiting() > 0
        except BrokerError:
            idle = False  # then there is nothing to take
        self._idle_looks = self._idle_looks + 1 if idle else 0
        if self._idle_looks >= _IDLE_LOOKS:
            emit(Event.WORKER_DEAF)
            state.should_stop = 0


def _logged(message: str, *args: Any, exc_info: bool = False) -> bool:
    """In place of billiard's own, after which it prints a traceback beside the log because it says not that it logged:
    of a pool process that could not begin, its worker being killed."""
    billiard.util.get_logger().error(message, *args, exc_info=exc_info)
    return True


def serve_worker(
    broker_url: str, queue: QueueConfig, make_handler: Callable[[], Handler], on_ready: Callable[[], None]
) -> None:
    """Take messages until SIGTERM (the running job is finished first) or SIGQUIT (it is cut off).

    ``make_handler`` runs once in every pool process, before it takes work; nothing heavy need be imported, and
    nothing that must not cross a fork is open, in the process that calls this.

    Raises:
        Exception: what ``on_ready`` raised; the worker has ended, for nobody would know that it works.
    """
    app = _make_app(broker_url, queue)
    app.steps["consumer"].add(_Watch)
    handlers: list[Handler] = []
    untold: list[Exception] = []

    def end_run(_number: int, _frame: object) -> None:
        raise TimeLimitError(f"the run was ended after {queue.time_limit_s * _SOFT_LIMIT:g} s (queue.time_limit_s)")

    @app.task(name=TASK)  # type: ignore[untyped-decorator]  # Celery has no types
    def process(job_id: str) -> None:
        signal.signal(signal.SIGUSR1, end_run)  # what Celery sends at the soft limit; its own handler has no words
        handlers[0](job_id, f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}")

    def prepare(**_: Any) -> None:
        try:
            handlers.append(make_handler())
        except Exception as error:
            emit(Event.ROLE_DIED, logging.ERROR, role="worker", error=f"a pool process cannot start: {error}")
            raise SystemExit(1) from error

    def tell_ready(**_: Any) -> None:
        try:
            on_ready()
        except Exception as error:  # whatever it is: Celery would log it and work on, ready for nobody
            untold.append(error)
            raise SystemExit(1) from error  # the one thing that Celery lets through from here

    def leave_logging_alone(**_: Any) -> None:
        """Celery sets up logging unless somebody listens to this signal."""
        # A killed pool process is one of our log's lines, not words beside it.
        billiard.util.get_logger().propagate = True
        billiard.util.error = _logged

    # Celery warns of running as root because of pickled messages; only JSON is accepted here.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    signals.setup_logging.connect(leave_logging_alone, weak=False)
    signals.worker_process_init.connect(prepare, weak=False)
    signals.worker_ready.connect(tell_ready, weak=False)
    worker = app.Worker(
        pool="prefork",
        concurrency=queue.concurrency,
        optimization="fair",
        queues=[QUEUE],
        hostname=f"ironnode-{os.getpid()}@{socket.gethostname()}",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
        doorbell=Doorbell(broker_url, queue),  # Celery hands unknown options to every step
    )
    worker.start()
    if untold:
        raise untold[0]
    raise SystemExit(worker.exitcode or 0)
