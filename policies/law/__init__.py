"""The legal engine: may this object become readable at that place, under which law, with which duties?

Learns facts about transfers (who, where, what kind of object, how many people), never a row. Regimes are data
(`policies/regimes/<regime>/`): dated tables and Cedar rules; this package joins facts with them and says why.
"""
