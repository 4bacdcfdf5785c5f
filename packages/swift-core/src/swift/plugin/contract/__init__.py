"""What each kind of part is called with and what it must return: described, checked, rehearsed."""

from swift.plugin.contract.check import Check, check_component
from swift.plugin.contract.kinds import CONTRACTS, Contract
from swift.plugin.contract.signature import accepted_extras, check_signature

__all__ = ["CONTRACTS", "Check", "Contract", "accepted_extras", "check_component", "check_signature"]
