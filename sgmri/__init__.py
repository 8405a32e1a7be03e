"""The ground of sgmri: the shared words of a grounded MRI reading, without I/O (stdlib and numpy only).

The only public package of the distribution; ``dicom_io``, ``worker``, ``conformance``, ``benchmark`` and
``plugin`` are the application's inside.

Research use only. Not a medical device.
"""

RESEARCH_USE_STATEMENT = "Research use only. Not a medical device. Not for diagnosis."
"""The sentence that every object, page and report of this product carries."""
