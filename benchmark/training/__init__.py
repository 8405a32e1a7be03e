"""The school of the embedded model: synthetic volumes with known findings, questions with answers, two stages, a seal.

Inside of the sgmri application.
"""
