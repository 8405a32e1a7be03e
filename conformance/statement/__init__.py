"""The DICOM conformance statement (PS3.2 Annex N), made of the live settings, the tables in use and measured "
"objects.
"""
