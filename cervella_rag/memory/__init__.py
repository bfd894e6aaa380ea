"""Memory folders become documents, and documents become chunks."""
