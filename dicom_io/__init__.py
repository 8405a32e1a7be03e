"""Inside of the sgmri application: DICOM in and out, the only translator between Dataset and our words."""
