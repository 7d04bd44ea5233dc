"""Plain values and refs to bytes, and back."""

from slimjobs.codec.decoder import decode
from slimjobs.codec.encoder import Encoder, read_rows
from slimjobs.codec.values import Inert, content_of, register_type, travels_by_value
from slimjobs.codec.weight import MAX_DEPTH, NO_LIMIT, Refused, nested_too_deeply, weigh
from slimjobs.codec.wire import HEADER, MAGIC

__all__ = [
    "HEADER",
    "MAGIC",
    "MAX_DEPTH",
    "NO_LIMIT",
    "Encoder",
    "Inert",
    "Refused",
    "content_of",
    "decode",
    "nested_too_deeply",
    "read_rows",
    "register_type",
    "travels_by_value",
    "weigh",
]
