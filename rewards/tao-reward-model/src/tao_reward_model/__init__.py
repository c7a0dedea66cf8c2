"""Rewards by model: what a frozen or trained network says about an answer."""
