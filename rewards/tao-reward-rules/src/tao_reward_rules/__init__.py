"""Rewards by rule: what a program can check in an answer without a model."""
