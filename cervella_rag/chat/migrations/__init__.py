"""How the tables of conversations came to be as they are, in steps that Alembic takes in order.

A step only adds: while replicas are exchanged one by one, and after going back to an older release, an
older program works on newer tables.

A new step: `versions/rNNNN_what_it_does.py` with the next number as `revision`, the tables in their
modules, and `REVISION` in `engines`. Tests hold the three together, on both engines.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection

_log = logging.getLogger(__name__)


def migrate(connection: Connection, version_table: str) -> None:
    """Bring the tables to the newest revision, within the transaction that is open.

    Args:
        connection: To SQLite or Postgres; who calls holds the lock.
        version_table: Name of the table that tells the revision.
    """
    # Loaded where it is needed: a tenth of a second, for what is done once in the life of a database.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", f"{__name__.rpartition('.')[0]}:migrations")
    config.attributes.update(connection=connection, version_table=version_table)
    context = MigrationContext.configure(connection, opts={"version_table": version_table})
    scripts, current = ScriptDirectory.from_config(config), context.get_current_revision()
    newest = scripts.get_current_head()
    known = {script.revision for script in scripts.walk_revisions()}
    if current == newest or (current and current not in known):  # a newer program was here
        return
    _log.info("the tables of conversations go from revision %s to %s", current or "none", newest)
    command.upgrade(config, "head")
