"""Market data: feeds, faults put into them on purpose, and the publisher of the ingest topic."""

from pipeline.market.faults import FaultPlan, ItemKind
from pipeline.market.feed import Feed, MarketBar, Rejections
from pipeline.market.feeds import CsvFeed, ParquetFeed, SampleFeed, SyntheticFeed, open_feed
from pipeline.market.publisher import ExpectedDeadLetter, Publisher, PublishReport

__all__ = [
    "CsvFeed",
    "ExpectedDeadLetter",
    "FaultPlan",
    "Feed",
    "ItemKind",
    "MarketBar",
    "ParquetFeed",
    "PublishReport",
    "Publisher",
    "Rejections",
    "SampleFeed",
    "SyntheticFeed",
    "open_feed",
]
