"""Our own SCP: pynetdicom's words for the association, a data path of our own for the instances (ADR 0017)."""
