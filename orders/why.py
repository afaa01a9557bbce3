"""为什么: how an amount came about, in sentences a person can check with a pocket calculator.

Pure: figures in, sentences out. A sentence is a Chinese text with figures, put into the reader's language at the door.
Where an amount was posted, its figures come from the ledger (orders.queries.why).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kernel.money import yuan
from orders.rules import GiveBack, Line
from voucher.rules import Purse, SpendAndSave


@dataclass(frozen=True)
class Sentence:
    """One step of a derivation."""

    text: str
    figures: dict[str, Any]


def sentence(text: str, **figures: Any) -> Sentence:
    """Return a sentence; amounts of fen among its figures (their names end in `_fen`) are written as money.

    >>> sentence("%(a)s", a_fen=20000).figures
    {'a': '¥200'}
    """
    shown = {name.removesuffix("_fen"): yuan(v) if name.endswith("_fen") else v for name, v in figures.items()}
    return Sentence(text, shown)


def sum_of(lines: Iterable[Line]) -> str:
    """Return what is added up, as one would type it.

    >>> sum_of([])
    ''
    """
    return " + ".join(f"{line.quantity} × {yuan(line.price_fen)}" for line in lines)


def why_discount(
    offer: SpendAndSave, lines: Sequence[Line], *, discount_fen: int, purse: Purse, bulk: bool = False
) -> list[Sentence]:
    """Return how a basket's discount and price come about, when `purse` was what could be saved."""
    subtotal_fen = sum(line.amount_fen for line in lines)
    steps = subtotal_fen // offer.step_fen
    full_fen = steps * offer.save_fen
    rule = {"step_fen": offer.step_fen, "save_fen": offer.save_fen, "subtotal_fen": subtotal_fen}
    said = [sentence("%(sum)s = %(subtotal)s", sum=sum_of(lines), subtotal_fen=subtotal_fen)]
    if full_fen == 0:
        said.append(sentence("每满 %(step)s 省 %(save)s：%(subtotal)s 不满 %(step)s，没有优惠。", **rule))
    else:
        said.append(
            sentence(
                "每满 %(step)s 省 %(save)s：%(subtotal)s 里有 %(steps)s 个整 %(step)s，"
                "%(steps)s × %(save)s = %(full)s。",
                **rule,
                steps=steps,
                full_fen=full_fen,
            )
        )
        limits = {"balance_fen": purse.balance_fen, "discount_fen": discount_fen}
        said.append(_bulk_limit(full_fen, **limits) if bulk else _limit(full_fen, purse, **limits))
    said.append(
        sentence(
            "%(subtotal)s − %(discount)s = %(payable)s",
            subtotal_fen=subtotal_fen,
            discount_fen=discount_fen,
            payable_fen=subtotal_fen - discount_fen,
        )
    )
    if discount_fen and len(lines) > 1:
        said += [
            sentence(
                "“%(name)s”按金额分摊到优惠 %(share)s。",
                name=line.pack_name,
                name_en=line.pack_name_en,
                share_fen=line.discount_fen,
            )
            for line in lines
        ]
    return said


def _limit(full_fen: int, purse: Purse, *, balance_fen: int, discount_fen: int) -> Sentence:
    if purse.status == "none":
        return sentence("没有这个活动的福利券，所以没有优惠。")
    if purse.status == "expired":
        return sentence("福利券已过期，所以没有优惠。")
    if purse.status == "revoked":
        return sentence("福利券已被收回，所以没有优惠。")
    figures = {"balance_fen": balance_fen, "discount_fen": discount_fen}
    if discount_fen == full_fen:
        return sentence("福利券余额是 %(balance)s，够用，所以优惠 %(discount)s。", **figures)
    return sentence("福利券余额只有 %(balance)s，所以只优惠 %(discount)s。", **figures)


def _bulk_limit(full_fen: int, *, balance_fen: int, discount_fen: int) -> Sentence:
    figures = {"balance_fen": balance_fen, "discount_fen": discount_fen}
    if discount_fen == full_fen:
        return sentence("活动的集采预算够用，所以优惠 %(discount)s。", **figures)
    return sentence("活动的集采预算不够，所以只优惠 %(discount)s。", **figures)


def why_refund(line: Line, *, before: int, units: int, back: GiveBack) -> list[Sentence]:
    """Return how what `units` of a line bring back comes about, `before` of it having gone back already."""
    before_fen = line.discount_fen * before // line.quantity
    return [
        sentence(
            "“%(name)s”%(quantity)s 份共 %(amount)s，其中优惠 %(share)s。",
            name=line.pack_name,
            name_en=line.pack_name_en,
            quantity=line.quantity,
            amount_fen=line.amount_fen,
            share_fen=line.discount_fen,
        ),
        sentence(
            "连这次共退 %(returned)s 份：%(share)s × %(returned)s ÷ %(quantity)s = %(then)s（不足一分舍去），"
            "减去以前退过的 %(before)s，退回优惠 %(voucher)s。",
            returned=before + units,
            quantity=line.quantity,
            share_fen=line.discount_fen,
            then_fen=before_fen + back.voucher_fen,
            before_fen=before_fen,
            voucher_fen=back.voucher_fen,
        ),
        sentence(
            "%(units)s × %(price)s − %(voucher)s = %(cash)s，退回付款。",
            units=units,
            price_fen=line.price_fen,
            voucher_fen=back.voucher_fen,
            cash_fen=back.cash_fen,
        ),
    ]
