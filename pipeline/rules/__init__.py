"""Validation rules: pure functions over packets and flows."""
