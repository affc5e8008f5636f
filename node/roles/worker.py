"""The worker role: measures, in pool processes of its own that can be limited in time and killed."""

from collections.abc import Callable

from node.app import Node
from node.jobs.celery_queue import Handler, serve_worker
from node.jobs.work import Pipeline, Workshop
from node.ops.lifeline import end_first_without_memory
from node.process.priors import ask_archive
from node.roles.stage import Stage

LoadPipeline = Callable[[], Pipeline]
"""Makes a pool process ready to measure: imports, compiles or loads kernels, returns the pipeline."""


def play(stage: Stage, load_pipeline: LoadPipeline | None = None) -> None:
    """Take jobs until told to stop; ``load_pipeline`` replaces the measurement."""

    def make_handler() -> Handler:
        end_first_without_memory()  # a measurement can be repeated; the listener and the ledger must live
        run = (load_pipeline or load_measurement)()
        node = Node(stage.config)  # opened after the fork: a database connection must not cross it
        workshop = Workshop(
            ledger=node.ledger,
            outbox=node.outbox,
            locate=node.spool.find,
            run=run,
            priors=node.priors,
            settings=node.settings,
            ask_archive=ask_archive,
            clock=node.clock,
            config=stage.config,
        )
        return workshop.do

    serve_worker(stage.broker_url(), stage.config.queue, make_handler, stage.ready)


def load_measurement() -> Pipeline:
    """The measurement of ``node.process.pipeline``, with its kernels compiled and warm."""
    from node.process import pipeline
    from quant.warm import warm_up

    warm_up()
    return pipeline.run
