"""The party node: agent, the one door, workers, connectors, catalogue, recipes, commands. No scheduling."""
