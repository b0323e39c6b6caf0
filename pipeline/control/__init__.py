"""Control: the log of commands, the trading state that follows from it, and its latch."""
