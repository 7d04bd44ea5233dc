"""Models in the payloads of serializers that are not ours: refs, or tagged dicts where they know only JSON."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from slimjobs import codec, locators
from slimjobs.codec import Refused
from slimjobs.errors import PayloadDecodeError, UnsavedModelError, UnsupportedTypeError
from slimjobs.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from rq.serializers import Serializer as RQSerializer

TAG = "__slimjobs_ref__"

_encoder = codec.Encoder()


def dehydrate(value: Any, serializer: RQSerializer) -> Any:
    """Return a value with refs in place of models, at any depth, as this serializer can write them.

    Raises:
        Refused: A dict that would be taken for a ref, or a model without a primary key.
    """
    knows_refs = _knows_refs(cast("Hashable", serializer))
    return _replace_models(value, (lambda ref: ref) if knows_refs else _tag)


def revive(value: Any) -> Any:
    """Return a value with refs in place of tagged dicts, at any depth.

    Raises:
        PayloadDecodeError: A tag is damaged.
    """
    cls = type(value)
    if cls is dict:
        if TAG in value:
            return _untag(value)
        return {key: revive(item) for key, item in value.items()}
    if cls in (list, tuple):
        return cls(revive(item) for item in value)
    return value


@lru_cache(maxsize=64)
def _knows_refs(serializer: RQSerializer) -> bool:
    probe = Ref("slimjobs", 1)
    try:
        return bool(serializer.loads(serializer.dumps(probe)) == probe)
    except Exception:  # noqa: BLE001  # each serializer has its own way to say no
        return False


def _replace_models(value: Any, write: Callable[[Ref], Any]) -> Any:
    cls = type(value)
    if cls is dict:
        if TAG in value:
            error = UnsupportedTypeError(f"a dict with the key {TAG!r} would be taken for a model")
            raise Refused(value, error)
        return {_replace_models(key, write): _replace_models(item, write) for key, item in value.items()}
    if cls in (list, tuple, set, frozenset):
        return cls(_replace_models(item, write) for item in value)
    try:
        ref = value if cls is Ref else locators.dehydrate(value)
    except UnsavedModelError as error:
        raise Refused(value, error) from None
    return value if ref is None else write(ref)


def _tag(ref: Ref) -> dict[str, str]:
    data = _encoder.encode(ref)
    assert data is not None  # there was no limit
    return {TAG: base64.b64encode(data).decode("ascii")}


def _untag(tagged: dict[str, Any]) -> Ref:
    try:
        ref = codec.decode(base64.b64decode(tagged[TAG], validate=True))
    except (ValueError, TypeError) as error:
        raise PayloadDecodeError("the tag of a ref is damaged") from error
    if type(ref) is not Ref or len(tagged) != 1:
        raise PayloadDecodeError("the tag of a ref is damaged")
    return ref
