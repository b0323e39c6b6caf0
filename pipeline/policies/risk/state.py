"""All that the risk stage remembers, to bytes and back."""

from dataclasses import dataclass

import msgspec

from pipeline.errors import PositionLost
from pipeline.policies.risk.book import Account
from pipeline.policies.risk.market import Market
from pipeline.policies.risk.settings import RiskSettings

__all__ = ["RiskState"]

_VERSION = 1


@dataclass(slots=True)
class RiskState:
    """State of one account group.

    Attributes:
        market: Marks and returns, shared by all accounts.
        accounts: By name.
    """

    market: Market
    accounts: dict[str, Account]

    @classmethod
    def initial(cls, settings: RiskSettings) -> "RiskState":
        """Return the state before the first record."""
        accounts = {name: Account(cash) for name, cash in settings.accounts}
        return cls(Market(settings.history_bars), accounts)

    def account(self, name: str) -> Account:
        """Return an account, opened without cash where it is not known."""
        return self.accounts.setdefault(name, Account(0.0))

    def dump(self) -> bytes:
        """Return the state as bytes, exact to the last bit."""
        accounts = [(name, account.dump()) for name, account in self.accounts.items()]
        content = {"version": _VERSION, "market": self.market.dump(), "accounts": accounts}
        return msgspec.msgpack.encode(content)

    @classmethod
    def load(cls, data: bytes, settings: RiskSettings) -> "RiskState":
        """Return the state that `data` is the dump of; accounts new in the settings are opened.

        Raises:
            PositionLost: If this version cannot read it, or the history has another length.
        """
        content = msgspec.msgpack.decode(data)
        if content.get("version") != _VERSION:
            raise PositionLost(
                f"Expected a risk state of version {_VERSION}, was {content.get('version')}."
                " Start the version that wrote it, or a new namespace."
            )
        if content["market"]["history_bars"] != settings.history_bars:
            raise PositionLost(
                f"Expected a history of {settings.history_bars} bars,"
                f" was {content['market']['history_bars']}. Set history_bars back."
            )
        state = cls.initial(settings)
        state.market = Market.load(content["market"])
        state.accounts |= {name: Account.load(item) for name, item in content["accounts"]}
        return state
