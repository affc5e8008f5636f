"""A pytest plugin: a ledger that a test opens without a URL lies in PostgreSQL, each storage root's in its own schema.

``python -m pytest -p tests.several_hosts.on_postgresql tests/node/jobs``; ``IRONNODE_TEST_DATABASE`` is the server.
"""

import hashlib
import os
from pathlib import Path

from sqlalchemy import Engine, create_engine, text

from node.jobs import database

_make_engine = database.make_engine


def _make_engine_in_schema(root: Path, url: str | None) -> Engine:
    if url is not None:
        return _make_engine(root, url)
    server = os.environ["IRONNODE_TEST_DATABASE"]
    schema = "t" + hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
    engine.dispose()
    return _make_engine(root, f"{server}&options=-csearch_path%3D{schema}")


database.make_engine = _make_engine_in_schema
