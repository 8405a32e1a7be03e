"""Inside of the sgmri application: the roof, which makes one product out of the parts."""
