"""The worker role: measures, in pool processes of its own that can be limited in time and killed."""

from collections.abc import Callable

from node.app import Node, wall_clock
from node.config import Config
from node.jobs.celery_queue import Handler, serve_worker
from node.jobs.work import Pipeline, Workshop
from node.roles.stage import Stage

LoadPipeline = Callable[[Config], Pipeline]
"""Makes a pool process ready to measure: imports, compiles or loads kernels, returns the pipeline."""


def play(stage: Stage, load_pipeline: LoadPipeline | None = None) -> None:
    """Take jobs until told to stop; ``load_pipeline`` replaces the measurement."""

    def make_handler() -> Handler:
        run = (load_pipeline or load_measurement)(stage.config)
        node = Node(stage.config)  # opened after the fork: a database connection must not cross it
        workshop = Workshop(
            ledger=node.ledger,
            outbox=node.outbox,
            locate=node.spool.find,
            run=run,
            clock=wall_clock,
            config=stage.config,
        )
        return workshop.do

    serve_worker(stage.broker_url(), stage.config.queue, make_handler, stage.ready)


def load_measurement(config: Config) -> Pipeline:
    """The measurement of ``node.process.pipeline``, with its kernels compiled and warm."""
    from node.process import pipeline

    _warm_up()
    return lambda job: pipeline.run(job, config)


def _warm_up() -> None:
    """Fit a few voxels and load the liver finder's kernels, so that the first job does not wait for compilation."""
    import numpy as np

    from quant.fit import fit_r2star
    from quant.liver import kernels
    from quant.noise import NoiseModel

    echo_times_s = np.arange(1, 7) * 1.2e-3
    decay = 1000 * np.exp(-60 * echo_times_s)
    noise = np.random.default_rng(0).normal(0, 5, (2, 16, 16, 6))
    known = NoiseModel(sigma=5.0, coils=1.0, source="given")
    fit_r2star(np.abs(decay + noise).astype(np.float32), echo_times_s, field_t=1.5, noise=known)
    kernels.warm_up()
