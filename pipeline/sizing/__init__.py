"""On paper, from what was measured: how available the cascade is, and what it takes to grow."""
