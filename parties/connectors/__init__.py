"""Ways to a party's own tables: the only code that reads rows, and it reads only what a contract permits."""
