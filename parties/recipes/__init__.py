"""Recipes: what a party computes locally in a training job; installed by its own administrator."""
