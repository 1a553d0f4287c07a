"""Numbers that say how good a representation is, and how sure a score is."""
