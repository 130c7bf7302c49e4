"""Zero trust as pure functions: identities, signed envelopes, contracts, plans, and the Cedar engine that decides."""
