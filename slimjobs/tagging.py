"""Models in the payloads of serializers that are not ours: refs, or tagged dicts where they know only JSON."""

from __future__ import annotations

import base64
from itertools import chain
from typing import TYPE_CHECKING, Any

from slimjobs import codec, registry
from slimjobs.codec import MAX_DEPTH, NO_LIMIT, Refused, nested_too_deeply, read_rows
from slimjobs.errors import PayloadDecodeError, SlimjobsError, UnsupportedTypeError
from slimjobs.refs import Ref, Rows
from slimjobs.weights import LEAVES

if TYPE_CHECKING:
    from collections.abc import Callable

    from rq.serializers import Serializer as RQSerializer

TAG = "__slimjobs_ref__"

_encoder = codec.Encoder()
_CONTAINERS = (list, tuple, set, frozenset, dict)


def dehydrate(value: Any, serializer: RQSerializer, room: int = NO_LIMIT, models: list[Any] | None = None) -> Any:
    """Return a value with refs in place of models, at any depth, as this serializer can write them.

    Args:
        value: The value.
        serializer: What will write it.
        room: For how many bytes there is room.
        models: Where the models that became refs are added.

    Raises:
        Refused: A dict that would be taken for a ref, a model without a primary key, or a query of
            more rows than there is room for.
    """
    write = (lambda ref: ref) if knows_refs(serializer) else _tag
    return _Replacing(write, room, [] if models is None else models).replace(value, 0)


def revive(value: Any) -> Any:
    """Return a value with refs in place of tagged dicts, at any depth; itself where there are none.

    Raises:
        PayloadDecodeError: A tag is damaged.
    """
    try:
        return _replace_tags(value) if _holds_tag(value, set()) else value
    except RecursionError as error:
        raise PayloadDecodeError("the payload is nested too deeply to be loaded") from error


def _holds_tag(value: Any, seen: set[int]) -> bool:
    cls = type(value)
    if cls not in (dict, list, tuple) or id(value) in seen:  # a pickle may hold one many times
        return False
    seen.add(id(value))
    if cls is dict:
        return TAG in value or any(_holds_tag(item, seen) for item in value.values())
    return any(_holds_tag(item, seen) for item in value)


def _replace_tags(value: Any) -> Any:
    cls = type(value)
    if cls is dict:
        return _untag(value) if TAG in value else {key: _replace_tags(item) for key, item in value.items()}
    return cls(map(_replace_tags, value)) if cls in (list, tuple) else value


def knows_refs(serializer: RQSerializer) -> bool:
    """Return whether a serializer can write and read refs as they are."""
    probe = Ref("slimjobs", 1)
    try:
        return bool(serializer.loads(serializer.dumps(probe)) == probe)
    except Exception:  # noqa: BLE001  # each serializer has its own way to say no
        return False


class _Replacing:
    """Puts what a serializer can write in place of models."""

    def __init__(self, write: Callable[[Ref], Any], room: int, models: list[Any]) -> None:
        self._write = write
        self._room = room
        self._models = models
        # What has been made of containers, and how many levels are in each, by their id(): a pickle writes one once.
        self._done: dict[int, tuple[Any, int]] = {}

    def replace(self, value: Any, level: int) -> Any:
        """Return a value with refs in place of models, in containers of its own, shared as those of the value are."""
        if level > MAX_DEPTH:
            raise nested_too_deeply(None)
        if type(value) in LEAVES:  # most values: the registry need not be asked of each
            return value
        if type(value) not in _CONTAINERS:
            return self._replace_single(value)
        replaced, levels = self._done.get(id(value), (None, MAX_DEPTH + 1))
        if level + levels > MAX_DEPTH:
            replaced = self._rebuild(value, level + 1)
            inside = chain(value, value.values()) if type(value) is dict else value
            levels = max((1 + self._done.get(id(item), (None, 0))[1] for item in inside), default=0)
            self._done[id(value)] = replaced, levels
        return replaced

    def _rebuild(self, value: Any, level: int) -> Any:
        cls = type(value)
        if cls is not dict:
            return _build(cls, [self.replace(item, level) for item in value], value)
        if TAG in value:
            raise Refused(value, UnsupportedTypeError(f"a dict with the key {TAG!r} would be taken for a model"))
        pairs = [(self.replace(key, level), self.replace(item, level)) for key, item in value.items()]
        return _build(dict, pairs, value)

    def _replace_single(self, value: Any) -> Any:
        try:
            ref = value if type(value) is Ref else registry.dehydrate(value)
            if isinstance(ref, Rows):
                return [self._replace_single(each) for each in read_rows(ref, self._room)]
        except SlimjobsError as error:
            raise Refused(value, error) from None
        if ref is None:
            return value
        self._models.append(value)
        return self._write(ref)


def _build(cls: type[Any], items: list[Any], value: Any) -> Any:
    try:
        return cls(items)
    except TypeError:  # a tagged dict cannot be a key, nor in a set
        problem = "a model as a key or in a set cannot be written by a serializer that knows only JSON"
        raise Refused(value, UnsupportedTypeError(problem)) from None


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
