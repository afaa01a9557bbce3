"""The demonstration campaign: loaded from files that look like what a union has. Loading it twice changes nothing."""

import json
from datetime import date, datetime
from typing import Any

from python_calamine import CalamineWorkbook

from catalog import services as catalog_services
from kernel import clock
from kernel.errors import NotFound
from people import queries as people_queries
from people.rules import APPROVER, MERCHANT, OFFICER, OPERATOR, STATION
from people.services import arrivals
from voices import queries as voice_queries
from voices import services as voice_services
from voucher import queries as voucher_queries
from voucher import services as voucher_services
from web.settings import ROOT

FILES = ROOT / "demo"


def _json(name: str) -> Any:
    return json.loads((FILES / name).read_text(encoding="utf-8"))


def _sheet(name: str) -> list[dict[str, Any]]:
    rows = CalamineWorkbook.from_path(str(FILES / name)).get_sheet_by_index(0).to_python()
    header = [str(cell) for cell in rows[0]]
    return [dict(zip(header, row, strict=True)) for row in rows[1:]]


def load(*, now: datetime) -> dict[str, int]:
    """Load what is not there yet, and return how much of each kind was new."""
    campaign, catalogue, unions = _json("campaign.json"), _json("catalogue.json"), _sheet("unions.xlsx")
    made = arrivals.bring_in(
        unions=[
            {
                "code": row["工会编号"],
                "name": row["工会名称"],
                "name_en": row["英文名称"],
                "address": row["地址"],
            }
            for row in unions
        ],
        merchants=[
            {
                name: row.get(name, "")
                for name in (
                    "code",
                    "name",
                    "short_name",
                    "name_en",
                    "region",
                    "assisted_region",
                    "intro",
                    "intro_en",
                )
            }
            for row in catalogue["merchants"]
        ],
        members=[
            {
                "name": row["姓名"],
                "phone": str(row["手机号"]),
                "member_no": row["会员编号"],
                "union_code": row["工会编号"],
                "department": row["部门"],
                "joined_on": _day(row["入会日期"]),
            }
            for row in _sheet("members.xlsx")
        ],
        honours=[
            {
                "kind": "model_worker",
                "name": row["姓名"],
                "phone": str(row["手机号"]),
                "title": row["荣誉"],
                "year": int(row["获评年份"]),
                "unit": row["单位"],
                "member_no": row["会员编号"] or None,
            }
            for row in _sheet("model_workers.xlsx")
        ],
        stations=campaign["stations"],
        staff=_staff(campaign, catalogue, unions),
    )
    made["packs"] = catalog_services.bring_in_packs(
        [
            {
                "code": pack["code"],
                "merchant": pack["merchant"],
                "name": pack["name"],
                "name_en": pack["name_en"],
                "price_fen": pack["tier_fen"],
                "category": pack["category"],
                "description": pack["description"],
                "description_en": pack["description_en"],
                "picture": f"pictures/packs/{pack['code']}.svg",
                "contents": [
                    {name: content[name] for name in ("name", "name_en", "quantity", "unit")}
                    for content in pack["contents"]
                ],
                "stock": pack["stock"],
            }
            for pack in catalogue["packs"]
        ],
        now=now,
    )
    made["campaigns"] = _campaign(campaign, now=now)
    made["vouchers"] = _vouchers(campaign["slug"], now=now)
    made["announcements"] = _announcements(campaign, now=now)
    return made


def _announcements(campaign: dict[str, Any], *, now: datetime) -> int:
    """Write the campaign's announcements where there is none yet, by its first operator."""
    if voice_queries.all_announcements(limit=1).items:
        return 0
    operator = people_queries.by_phone(campaign["operators"][0]["phone"])
    assert operator is not None
    found = voucher_queries.campaign(campaign["slug"], now=now)
    for row in campaign["announcements"]:
        texts = {name: row[name] for name in ("title", "title_en", "body", "body_en")}
        period = {"starts_at": now, "ends_at": found.ends_at, "is_pinned": row["pinned"], "campaign_id": found.id}
        voice_services.announce(announcement_id=None, details={**texts, **period}, actor_id=operator.person_id, now=now)
    return len(campaign["announcements"])


def _day(value: Any) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else None


def _staff(campaign: dict[str, Any], catalogue: dict[str, Any], unions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    staff = []
    for row in unions:
        for title, role in (("经办人", OFFICER), ("审批人", APPROVER)):
            staff.append(
                {
                    "name": row[title],
                    "phone": str(row[f"{title}手机"]),
                    "role": role,
                    "union_code": row["工会编号"],
                }
            )
    for row in catalogue["merchants"]:
        staff.append(
            {
                "name": row["contact_name"],
                "phone": row["phone"],
                "role": MERCHANT,
                "merchant_code": row["code"],
            }
        )
    staff += [{**row, "role": STATION} for row in campaign["station_staff"]]
    return staff + [{**row, "role": OPERATOR} for row in campaign["operators"]]


def _campaign(campaign: dict[str, Any], *, now: datetime) -> int:
    try:
        voucher_queries.campaign(campaign["slug"], now=now)
    except NotFound:
        details = {
            name: campaign[name]
            for name in (
                "slug",
                "name",
                "name_en",
                "tiers_fen",
                "member_budget_fen",
                "bulk_budget_fen",
                "issue_mode",
            )
        }
        voucher_services.create_campaign(
            details={
                **details,
                **campaign["rule"],
                "starts_at": clock.days_from(now, 0),
                "ends_at": clock.days_from(now, campaign["days_open"]),
            },
            actor_id=None,
            now=now,
        )
        return 1
    return 0


def _vouchers(slug: str, *, now: datetime) -> int:
    everyone = voucher_services.Audience(everyone=True)
    new = voucher_services.preview_issue(slug=slug, audience=everyone)["members"]
    voucher_services.issue_now(slug=slug, audience=everyone, now=now)
    return new


def welcome(address: str) -> str:
    """Return what to say when the demonstration is ready."""
    return "\n".join(
        (
            "",
            f"惠工 is ready: {address}",
            "Sign in by phone; the one-time code is shown on the page (demonstration only; in production staff sign",
            "in by name and password, given by an operator at /admin/people/):",
            "  members            13800000001 … 13800000200, each with a ¥200 voucher",
            "  union officer      13900000001   approver of the same union 13900000002",
            "  merchants          13700000001 … 13700000012",
            "  pickup stations    13500000001 … 13500000008",
            "  operators          13600000001, 13600000002",
            "",
        )
    )
