from pipeline.demo.latency import Latencies
from tests.unit.demo.factories import START_US, end


def test_stages_share_out_the_whole_latency() -> None:
    """The stages' shares, transport included, add up to the latency of the flow."""
    latencies = Latencies()
    latencies.add_end(end(0, shares_us=(4000, 3000, 2000, 1000)), START_US)
    found = {name: recorder.figures() for name, recorder in latencies.stages.items()}
    shares = {name: each.max for name, each in found.items() if each}
    assert {"strategic": 4.0, "tactical": 3.0, "risk": 2.0, "execution": 1.0} == shares
    whole = latencies.end_to_end.figures()
    assert whole is not None
    assert sum(shares.values()) == whole.max
