"""Where a parcel or a recipient's packet is collected, for those the release before wrote while 0019 was rolled out."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None
phase = "contract"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade():
    orders = sa.table("orders", sa.column("id", BIG), sa.column("delivery", sa.JSON()))
    stations = sa.table("pickup_stations", sa.column("id", BIG))
    parcels = sa.table("parcels", sa.column("order_id", BIG), sa.column("station_id", BIG))
    recipients = sa.table("recipients", sa.column("delivery", sa.JSON()), sa.column("station_id", BIG))

    def named(delivery):
        known = delivery["station_id"].as_integer().in_(sa.select(stations.c.id))
        return sa.and_(delivery["kind"].as_string() == "pickup", known)

    station = sa.select(orders.c.delivery["station_id"].as_integer()).where(orders.c.id == parcels.c.order_id)
    collected = sa.select(orders.c.id).where(named(orders.c.delivery))
    op.execute(
        sa.update(parcels)
        .where(parcels.c.station_id.is_(None), parcels.c.order_id.in_(collected))
        .values(station_id=station.scalar_subquery())
    )
    op.execute(
        sa.update(recipients)
        .where(recipients.c.station_id.is_(None), named(recipients.c.delivery))
        .values(station_id=recipients.c.delivery["station_id"].as_integer())
    )


def downgrade():
    """Nothing to undo: what 0019 would have written is there."""
