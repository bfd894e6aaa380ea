"""Chunks become an index that always shows one whole generation."""
