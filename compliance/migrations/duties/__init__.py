"""Revisions of the schema of what a node's lawfulness rests on."""
