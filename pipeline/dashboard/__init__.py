"""The dashboard: one web page over the cascade that runs, and the little that may be done from it.

- `passwords`, `users`, `sessions`, `limits`: who is there, and how often they may try.
- `board`, `notices`: what is known of flows, alerts and emergencies; pure.
- `stages`: what becomes of a stage's figures; pure.
- `observing`: reads all that from Kafka, on threads of its own.
- `acting`: commands, acknowledgements, and who may give which.
- `guarding`, `handlers`, `streaming`, `server`: HTTP.

It is no part of the packets' path: it reads in consumer groups of its own, and writes nothing but
commands and acknowledgements of people, who are their author.
"""
