"""The session brief: what somebody who starts to work must know, from the index alone, without a model.

chunks --records--> records with their items --state, decisions, stale, contradictions--> lines --writer-->
a text within its budget.
"""
