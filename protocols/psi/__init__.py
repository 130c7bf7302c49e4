"""Private set intersection: the elliptic-curve and the OT-extension engine, from their groups to their roles."""
