"""Measures: does she find it, does she answer it."""
