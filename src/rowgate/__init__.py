"""Rowgate: query Postgres directly with your user's JWT; row-level security decides which rows that user has.

The package root holds the version and nothing else, so that importing it costs nothing.
"""

__version__ = "0.1.0"
