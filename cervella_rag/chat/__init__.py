"""Hits become a cited answer: one turn, end to end."""
