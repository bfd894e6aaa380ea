"""From a conversation into the memory: a draft in SNCP form, a place for it, one write when confirmed."""
