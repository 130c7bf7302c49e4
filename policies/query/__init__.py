"""Joint queries: SQL that a researcher writes, checked and turned into what each owner runs. Pure."""
