"""A recipient's own link, and the notice board's: made and read at the doors, which know the secret key."""

from flask import current_app, url_for

from kernel import links
from kernel.errors import NotFound
from orders.services.replacing import Texts


def token_of(order_id: int, position: int, code: int) -> str:
    """Return what a recipient's own link ends in."""
    return links.make("choice", order_id, position, code, key=current_app.config["HUIGONG"].secret_key)


def link_of(order_id: int, position: int, code: int) -> str:
    """Return the address of a recipient's own page."""
    return url_for("choices.show", choice_token=token_of(order_id, position, code), _external=True)


def board_link(order_id: int) -> str:
    """Return the address for the notice board, which asks for phone and employee number."""
    token = links.make("board", order_id, key=current_app.config["HUIGONG"].secret_key)
    return url_for("choices.board", board_token=token, _external=True)


def ids_of(purpose: str, token: str, count: int) -> tuple[int, ...]:
    """Return what a link's token names; raise NotFound for one that is none of ours."""
    ids = links.read(purpose, token, key=current_app.config["HUIGONG"].secret_key)
    if ids is None or len(ids) != count:
        raise NotFound("没有这个链接，请向工会经办人要新的。")
    return ids


def asked_again() -> Texts:
    """Return how a recipient is asked again whose pack ran out."""
    return Texts(
        link_for=lambda one: link_of(one.order_id, one.position, one.link_code),
        key=current_app.config["HUIGONG"].secret_key,
    )
