"""Cervella: one founder's AI partner, speaking from a folder of markdown files."""

__version__ = "0.1.0"
