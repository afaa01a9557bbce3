"""What a campaign wants of its sales: the share that comes from paired-assistance regions."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from kernel import audit
from kernel.db import db, transaction
from kernel.errors import Invalid
from orders.summary_models import CampaignTarget
from voucher import queries as voucher_queries


def set_target(*, slug: str, percent: int | None, now: datetime) -> None:
    """Set the percentage of sales, 1 to 100, that is to come from there. Raises NotFound, Invalid."""
    if percent is None or not 1 <= percent <= 100:
        raise Invalid(errors={"percent": ["请填写 1 到 100 的整数。"]})
    with transaction():
        campaign = voucher_queries.campaign(slug, now=now)
        own = CampaignTarget.campaign_id == campaign.id
        before = db.session.scalar(select(CampaignTarget.assisted_percent).where(own))
        on_engine = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
        setting = on_engine(CampaignTarget).values(campaign_id=campaign.id, assisted_percent=percent)
        db.session.execute(
            setting.on_conflict_do_update(index_elements=["campaign_id"], set_={"assisted_percent": percent})
        )
        if before != percent:
            audit.record(
                "campaign.target",
                f"campaign:{slug}",
                now=now,
                before={"assisted_percent": before},
                after={"assisted_percent": percent},
            )
