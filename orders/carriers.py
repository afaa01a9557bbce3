"""快递公司: the carriers merchants choose from, what else they are called, and where a parcel is followed."""

from dataclasses import dataclass
from urllib.parse import quote

FOLLOW = "https://www.kuaidi100.com/chaxun?com={code}&nu={tracking_no}"


@dataclass(frozen=True)
class Carrier:
    """A carrier: its name, its code at the tracking service ('' without tracking), other names it goes by."""

    name: str
    code: str
    others: tuple[str, ...] = ()


CARRIERS = (
    Carrier("顺丰", "shunfeng", ("顺丰速运", "顺丰快递", "sf", "sf express", "shunfeng")),
    Carrier("中通", "zhongtong", ("中通快递", "zto", "zhongtong")),
    Carrier("圆通", "yuantong", ("圆通速递", "圆通快递", "yto", "yuantong")),
    Carrier("申通", "shentong", ("申通快递", "sto", "shentong")),
    Carrier("韵达", "yunda", ("韵达快递", "韵达速递", "yunda")),
    Carrier("京东", "jd", ("京东物流", "京东快递", "jd", "jdl")),
    Carrier("极兔", "jtexpress", ("极兔速递", "j&t", "jt")),
    Carrier("德邦", "debangkuaidi", ("德邦快递", "德邦物流", "deppon")),
    Carrier("邮政EMS", "ems", ("ems", "邮政", "中国邮政", "邮政快递", "post")),
    Carrier("自送", "", ("自己送", "送货上门", "own")),
)
NAMES = tuple(carrier.name for carrier in CARRIERS)
_BY_NAME = {name.lower(): carrier for carrier in CARRIERS for name in (carrier.name, *carrier.others)}


def known(text: str) -> str | None:
    """Return a carrier's own name, whatever it was called; None for one we do not know.

    >>> known("顺丰速运"), known("SF"), known("飞鸽")
    ('顺丰', '顺丰', None)
    """
    carrier = _BY_NAME.get(text.strip().lower())
    return carrier.name if carrier else None


def tracking_link(carrier: str | None, tracking_no: str | None) -> str | None:
    """Return the page on which a parcel is followed; None for who has none.

    >>> tracking_link("顺丰", "SF 1"), tracking_link("自送", "1"), tracking_link(None, None)
    ('https://www.kuaidi100.com/chaxun?com=shunfeng&nu=SF%201', None, None)
    """
    found = _BY_NAME.get((carrier or "").lower())
    if found is None or not found.code or not tracking_no:
        return None
    return FOLLOW.format(code=found.code, tracking_no=quote(tracking_no, safe=""))
