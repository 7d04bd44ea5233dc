"""Plain values and refs to bytes, and back."""

from slimjobs.codec.decoder import decode
from slimjobs.codec.encoder import Encoder
from slimjobs.codec.values import Inert, register_type
from slimjobs.codec.weight import NO_LIMIT, Refused, weigh
from slimjobs.codec.wire import MAGIC

__all__ = ["MAGIC", "NO_LIMIT", "Encoder", "Inert", "Refused", "decode", "register_type", "weigh"]
