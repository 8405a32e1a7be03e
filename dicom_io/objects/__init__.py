"""Inside of the sgmri application: the evidence objects, each as ``encode_*`` and ``decode_*``."""
