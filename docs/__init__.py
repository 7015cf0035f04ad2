"""The documentation, and ``python -m docs.generate``, which renders the pages of the reference that come from code."""
