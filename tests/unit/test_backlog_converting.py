"""What the process that unpickles answers: new fields for a job, or why it stays as it is."""

from __future__ import annotations

import io
import pickle
from typing import Any

import sample_app
from sample_app import EMAILS, Email, Unregistered

from slimjobs import Serializer
from slimjobs.backlog.converting import read_message, serve, write_message
from slimjobs.compression import inflate
from slimjobs.refs import Ref

TASK = "sample_app.record"


def ask(*jobs: tuple[bytes, bytes]) -> list[Any]:
    """Return the answers to jobs that are sent one after the other."""
    source, target = io.BytesIO(), io.BytesIO()
    for data, meta in jobs:
        write_message(source, {"data_bytes": len(data), "meta": meta, "description": ""})
        source.write(data)
    source.seek(0)
    serve(source, target)
    target.seek(0)
    return list(iter(lambda: read_message(target), None))


def pickled(*args: Any, instance: Any = None, **kwargs: Any) -> bytes:
    return pickle.dumps((TASK, instance, args, kwargs))


def test_models_become_refs_and_all_else_stays() -> None:
    sample_app.reset()
    answer, other = ask((pickled(EMAILS[1], "x", also=EMAILS[2]), pickle.dumps({"note": 1})), (pickled(EMAILS[3]), b""))

    function, instance, args, kwargs = Serializer.loads(inflate(answer["data"]))
    assert (function, instance, list(args)) == (TASK, None, [Ref("sample_app.Email", 1), "x"])
    assert kwargs == {"also": Ref("sample_app.Email", 2)}
    assert Serializer.loads(answer["meta"]) == {"note": 1}
    assert answer["description"] == "sample_app.record(<Email 1>, str[1], also=<Email 2>)"
    assert other["meta"] == b""


def test_what_cannot_be_rewritten_is_told_and_the_next_job_is_asked_all_the_same() -> None:
    sample_app.reset()
    slim = ask((pickled(EMAILS[1]), b""))[0]["data"]
    gone = Email(99, "the only copy")
    jobs = [slim, b"no pickle", pickle.dumps((1, 2, 3, 4)), pickled("no model"), pickled(gone)]
    jobs += [pickled(EMAILS[1], Unregistered()), pickled(EMAILS[1])]
    *problems, last = ask(*((data, b"") for data in jobs))

    told = [answer["problem"] for answer in problems]
    assert told[:-1] == [
        "it is slim already",
        "it cannot be unpickled here (UnpicklingError)",
        "it holds no call",
        "it carries no registered model",
        "it has the only copy of Email 99: no row is there",
    ]
    assert told[-1].startswith("args[1]: ")
    assert "problem" not in last


def test_an_answer_is_given_whatever_the_models_own_code_does(monkeypatch: Any) -> None:
    sample_app.reset()
    monkeypatch.setattr(sample_app, "EMAILS", None)  # its loader fails

    assert ask((pickled(Email(1)), b"")) == [{"problem": "it cannot be converted (AttributeError)"}]


def test_the_end_of_a_message_that_is_cut_off_is_not_waited_for() -> None:
    assert read_message(io.BytesIO(b"\0\0")) is None
