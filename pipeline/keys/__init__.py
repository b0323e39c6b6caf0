"""Who may command and who may plan orders: Ed25519 keys, signatures, and the ring that knows them.

Where `CASCADE_KEYS` names a key ring, every control command and every order plan must carry a
signature by a key of that ring. It stands in a header of the record and covers the topic's real
name, so that what was signed for one namespace counts in no other, and the value's bytes.

What keeps a signed record from being played again is what reads it: the control log takes each
command once, and an order plan carries its place in its log and the order ids that follow from it.
"""

from pipeline.keys.making import KeyMaker
from pipeline.keys.ring import Key, KeyRing, Purpose, RingFile, public_key
from pipeline.keys.signing import SIGNATURE, Signer
from pipeline.keys.verifying import Verifier

__all__ = [
    "SIGNATURE",
    "Key",
    "KeyMaker",
    "KeyRing",
    "Purpose",
    "RingFile",
    "Signer",
    "Verifier",
    "public_key",
]
