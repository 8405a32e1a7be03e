"""The engines that read: each answers a question set about grey frames and knows no DICOM.

Inside of the sgmri application.
"""
