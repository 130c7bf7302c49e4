"""Private join and aggregate of one pair of parties: shares of  sum over matched keys of left * right.

Public: `terms.JoinTerms`, `roles.AttributeSide` and `roles.ValueSide` (one object each for a pair and a job), and
`shares` (re-randomise the shares of all pairs, open their sum). Who learns what is said in `roles`.
"""
