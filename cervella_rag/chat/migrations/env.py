"""What Alembic runs to take the steps: on the connection it is given, in the transaction that is open."""

from __future__ import annotations

from alembic import context

context.configure(**context.config.attributes)
context.run_migrations()
