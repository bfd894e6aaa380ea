"""Adapters: embedders and Qdrant, each behind a protocol."""
