"""What the stages decide with: pure numpy functions, arrays in, arrays out.

No Kafka, no packets, no clock and no random numbers. The result for a row is equal to the last bit
whatever batch the row comes in, so that a replay that cuts its rounds differently decides the same.
Three habits keep that true: no BLAS (its summation order depends on the shape), sums only over the
contiguous last axis or term by term, and constants worked out once per settings.
"""

__all__: list[str] = []
