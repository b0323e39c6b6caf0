"""The four stages: contract, decisions, engine, Faust apps."""
