"""Inside of the sgmri application."""
