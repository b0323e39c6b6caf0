from hypothesis import given
from hypothesis import strategies as st

from pipeline.packets import identity

_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x1f"), max_size=8)


_flows = st.tuples(_names, _names, st.integers(0, 2**63 - 1))


@given(_flows, _flows)
def test_a_flow_is_named_by_source_symbol_and_sequence(
    first: tuple[str, str, int], second: tuple[str, str, int]
) -> None:
    """The same three give the same id, any other three another one."""
    assert identity.flow_id(*first) == identity.flow_id(*first)
    assert (identity.flow_id(*first) == identity.flow_id(*second)) == (first == second)


def test_ids_do_not_change_between_versions() -> None:
    """A log of last year names its flows as today: the id of a known flow is fixed."""
    flow = identity.flow_id("market", "AAPL", 7)
    assert flow == "bc7016f32be12d662c34436a2d47345f"
    assert identity.packet_id(flow, "risk") == f"{flow}-risk"
    assert identity.client_order_id(flow, 3) == f"{flow}-003"


def test_unreadable_records_are_named_by_their_coordinates() -> None:
    """Records that cannot be read have ids too, and no two places share one."""
    places = [("a", 0, 1), ("a", 1, 0), ("a", 0, 11), ("a0", 1, 1)]
    assert len({identity.unreadable_flow_id(*place) for place in places}) == len(places)
