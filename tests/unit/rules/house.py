"""Rules as a package of a user would bring them."""

from pipeline.packets.events import ValidationType
from pipeline.rules import ValidationContext, ValidationResult, ValidationRule, rule

__all__ = ["NOTHING", "ONE", "RULES"]


class ONE(ValidationRule):
    """A class."""

    rule_id = "house.one"

    def validate(self, context: ValidationContext) -> list[ValidationResult]:
        return []


@rule("house.first", ValidationType.DATA_INTEGRITY)
def first(context: ValidationContext) -> list[str]:
    """Nothing is ever wrong."""
    return []


@rule("house.second", ValidationType.DATA_INTEGRITY)
def second(context: ValidationContext) -> list[str]:
    """Nothing is ever wrong here either."""
    return []


RULES = [first, second]
NOTHING = 3
