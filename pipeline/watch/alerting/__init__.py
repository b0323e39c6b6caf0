"""Alerts: from figures over rules to whoever is to be told.

`engine` says what is raised, `notices` whom to tell of what, `couriers` tells them; all state is on
`cascade.alerts` and `cascade.alerts.commands`, so that any monitor worker can go on with it.
"""
