"""The audit log: its files, their ends in the journal, their examination, and the messages that are made of them."""
