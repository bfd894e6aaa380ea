"""Exact facts: questions that code answers over the files as they are now, not over the index."""
