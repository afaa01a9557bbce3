"""The API against its own description: schemathesis asks what the document allows, and what it does not, as everybody.

No answer is a 5xx; a success is one the document names, with the content it promises; a refusal is a problem document.
"""

import itertools
import warnings
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis import GenerationMode

from tests.factories import APPROVER, MERCHANT_A, OFFICER, OPERATOR

ASKERS = {
    "nobody": (None, ""),
    "a member": ("13800000001", ""),
    "an officer": (OFFICER, "bulk"),
    "an approver": (APPROVER, "bulk"),
    "a merchant": (MERCHANT_A, "merchant"),
    "an operator": (OPERATOR, "admin"),
}
ROOMS = ("bulk", "merchant", "admin")
EXAMPLES = 4  # of what is one's own; of what is another's, one


@pytest.mark.parametrize("who", list(ASKERS))
def test_every_answer_is_as_the_document_says(world, who, monkeypatch):
    monkeypatch.setitem(world.app.config, "TESTING", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", world.app)
    login, own = ASKERS[who]
    headers = {} if login is None else {"Authorization": f"Bearer {world.token(login)}"}
    wrong: set[str] = set()
    asked = itertools.count(1)
    for result in schema.get_all_operations():
        operation = result.ok()
        room = next((part for part in operation.path.split("/") if part in ROOMS), "")
        if own != room and world.app.config["ENGINE"] == "postgresql":
            continue  # another's door is shut before any database is asked: once is enough
        examples = EXAMPLES if own == room else 1
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)[
            : 2 if own == room and may_be_wrong(operation) else 1
        ]:
            ask_all(operation, mode, examples, lambda: {**headers, "Idempotency-Key": f"schema-{next(asked)}"}, wrong)
    assert next(asked) > (20 if world.app.config["ENGINE"] == "postgresql" else 120)
    assert sorted(wrong) == [], "\n".join(sorted(wrong))
    assert world.breaches() == []


def may_be_wrong(operation):
    """Whether there is input that the document refuses: any text may stand in a path."""
    return bool(operation.query or operation.body)


def ask_all(operation, mode, examples, headers, wrong):
    """Ask an operation a few times what is right, or wrong, and gather what its answers should not have been."""
    strategy = operation.as_strategy(generation_mode=mode)

    def ask(case):
        case.headers = {**(case.headers or {}), **headers()}
        answer = case.call()
        said = f"{operation.label}: {answer.status_code}"
        if answer.status_code >= 500:
            wrong.add(f"{said}: {answer.text[:300]}")
        elif answer.status_code >= 400:
            kind = answer.headers["content-type"][0]
            if not kind.startswith("application/problem+json"):
                wrong.add(f"{said}: {kind}")
        elif str(answer.status_code) not in operation.definition.raw["responses"]:
            wrong.add(f"{said}: no such answer in the document")
        else:
            try:
                operation.validate_response(answer)
            except BaseExceptionGroup as group:
                wrong.update(f"{said}: {one}"[:600] for one in group.exceptions)
            except AssertionError as failure:
                wrong.add(f"{said}: {failure}"[:600])

    options = {"phases": [Phase.generate], "deadline": None, "database": None}
    run = settings(max_examples=examples, suppress_health_check=list(HealthCheck), **options)(given(case=strategy)(ask))
    with suppress(*((Unsatisfiable,) if mode is GenerationMode.NEGATIVE else ())):  # nothing it takes can be wrong
        seed(len(operation.label))(run)()
