"""Inside of the sgmri application: the proof from outside, with phantoms, a small PACS and checks of what is sent."""
