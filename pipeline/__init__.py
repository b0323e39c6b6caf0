"""Inter-MARL Cascade: a decision pipeline on Apache Kafka, from market data to order plans."""

__all__ = ["__version__"]

__version__ = "0.1.0"
