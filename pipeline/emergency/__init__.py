"""Emergencies: what is done about them at once, whom they are told to, and how they end.

One implementation, used by the component `pipeline.cascade.emergency`, by `cascade control` and by
the emergency worker.
"""
