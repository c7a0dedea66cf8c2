"""Rewards by executing SQL that a model wrote, in a sandbox."""
