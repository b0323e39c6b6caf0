"""The auditor: reads all topics along, judges packets and flows, and chains what it saw.

chain        which records of the audit log count, and what is wrong with it
content      what the records say: windows, findings, security events
writing      adding to the chain, whoever else tries to
findings     what can be wrong
ordering     records of one log partition: missing, changed, twice, out of order, late
hops         from log to log: what was made of each record, and whether it agrees
accounts     orders, ends, reservations, packets in and out
flow_audit   all of it together, entry by entry
security     who did what, from the topics that tell
source       reading the topics from given positions
auditor      one auditor: recover, read, judge, chain, tell how far it has come
verifying    the audit log against itself and against the topics
"""
