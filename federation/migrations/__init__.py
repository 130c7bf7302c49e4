"""Schema history, run by Alembic when the database is opened."""
