"""Adapters: the voices that can speak an answer."""
