"""The regimes as data: one folder each with `facts.yaml` (dated tables), `rules.cedar` and `cases/`; no Python."""
