"""The figures help names: the campaign's own rule and the house's settings, said in the reader's language."""

from babel.dates import format_date
from flask import current_app
from flask_babel import get_locale, gettext

from kernel import clock
from kernel.money import yuan
from voucher import queries as voucher_queries


def figures() -> dict[str, str]:
    """Return them of the campaign that is open, else of the latest; in words where there is none."""
    settings = current_app.config["HUIGONG"]
    campaigns = voucher_queries.campaigns(now=clock.now())
    campaign = next((one for one in campaigns if one.status == "open"), campaigns[0] if campaigns else None)
    unknown = gettext("活动规定的金额")
    said = {name: unknown for name in ("step", "save", "face", "twice")} | {"ends": gettext("见活动公告")}
    if campaign is not None:
        said = {
            "step": yuan(campaign.offer.step_fen),
            "save": yuan(campaign.offer.save_fen),
            "face": yuan(campaign.face_fen),
            "twice": yuan(2 * campaign.offer.step_fen),
            # The last day, as people say it: the end itself is the midnight after.
            "ends": format_date(clock.last_day(campaign.ends_at), "long", locale=get_locale()),
        }
    return said | {
        "wait": str(max(1, settings.payment_seconds // 60)),
        "reply": str(max(1, settings.refund_reply_seconds // 86400)),
        "answer": str(max(1, settings.answer_seconds // 3600)),
    }
