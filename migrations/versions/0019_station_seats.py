"""A seat at a pickup station; where a parcel or a recipient's packet is collected; what of a return is sold again."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None
phase = "expand"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON()
ONE_ORGANIZATION = (
    "(role IN ('union_officer', 'union_approver') AND union_id IS NOT NULL AND merchant_id IS NULL{none})"
    " OR (role = 'merchant' AND merchant_id IS NOT NULL AND union_id IS NULL{none})"
    "{station}"
    " OR (role = 'operator' AND merchant_id IS NULL AND union_id IS NULL{none})"
)
AT_A_STATION = " OR (role = 'station' AND station_id IS NOT NULL AND union_id IS NULL AND merchant_id IS NULL)"


def upgrade():
    with op.batch_alter_table("seats") as table:
        table.add_column(sa.Column("station_id", BIG, nullable=True))
        table.create_foreign_key(
            op.f("fk_seats_station_id_pickup_stations"), "pickup_stations", ["station_id"], ["id"]
        )
        table.drop_constraint(op.f("ck_seats_one_organization"), type_="check")
        table.create_check_constraint(
            op.f("ck_seats_one_organization"),
            ONE_ORGANIZATION.format(none=" AND station_id IS NULL", station=AT_A_STATION),
        )
    for name, station_key in (("parcels", "status"), ("recipients", None)):
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("station_id", BIG, nullable=True))
            table.create_foreign_key(
                op.f(f"fk_{name}_station_id_pickup_stations"), "pickup_stations", ["station_id"], ["id"]
            )
        op.create_index(
            f"ix_{name}_station",
            name,
            ["station_id", *([station_key] if station_key else []), "order_id"],
            postgresql_where=sa.text("station_id IS NOT NULL"),
            sqlite_where=sa.text("station_id IS NOT NULL"),
        )
    _fill_in()
    with op.batch_alter_table("recipients") as table:
        table.drop_constraint(op.f("ck_recipients_received_how"), type_="check")
        table.create_check_constraint(
            op.f("ck_recipients_received_how"), "received_how IN ('link', 'officer', 'station')"
        )
    with op.batch_alter_table("pickups") as table:
        table.add_column(sa.Column("position", sa.Integer(), nullable=False, server_default="0"))
        table.drop_constraint(op.f("pk_pickups"), type_="primary")
        table.create_primary_key(op.f("pk_pickups"), ["order_id", "parcel_no", "position"])
    with op.batch_alter_table("refund_lines") as table:
        table.add_column(sa.Column("restocked", sa.Integer(), nullable=False, server_default="0"))
        table.create_check_constraint(op.f("ck_refund_lines_restocked"), "restocked BETWEEN 0 AND quantity")


def _fill_in():
    """Copy the station out of each place of delivery that names one there is."""
    orders = sa.table("orders", sa.column("id", BIG), sa.column("delivery", JSON))
    stations = sa.table("pickup_stations", sa.column("id", BIG))
    parcels = sa.table("parcels", sa.column("order_id", BIG), sa.column("station_id", BIG))
    recipients = sa.table("recipients", sa.column("delivery", JSON), sa.column("station_id", BIG))

    def named(delivery):
        known = delivery["station_id"].as_integer().in_(sa.select(stations.c.id))
        return sa.and_(delivery["kind"].as_string() == "pickup", known)

    station = sa.select(orders.c.delivery["station_id"].as_integer()).where(orders.c.id == parcels.c.order_id)
    collected = sa.select(orders.c.id).where(named(orders.c.delivery))
    op.execute(
        sa.update(parcels).where(parcels.c.order_id.in_(collected)).values(station_id=station.scalar_subquery())
    )
    op.execute(
        sa.update(recipients)
        .where(named(recipients.c.delivery))
        .values(station_id=recipients.c.delivery["station_id"].as_integer())
    )


def downgrade():
    with op.batch_alter_table("refund_lines") as table:
        table.drop_constraint(op.f("ck_refund_lines_restocked"), type_="check")
        table.drop_column("restocked")
    # A recipient's own code has no place where a code hands a whole parcel over.
    op.execute("DELETE FROM pickups WHERE position > 0")
    with op.batch_alter_table("pickups") as table:
        table.drop_constraint(op.f("pk_pickups"), type_="primary")
        table.create_primary_key(op.f("pk_pickups"), ["order_id", "parcel_no"])
        table.drop_column("position")
    op.execute("UPDATE recipients SET received_how = 'officer' WHERE received_how = 'station'")
    with op.batch_alter_table("recipients") as table:
        table.drop_constraint(op.f("ck_recipients_received_how"), type_="check")
        table.create_check_constraint(op.f("ck_recipients_received_how"), "received_how IN ('link', 'officer')")
    for name in ("recipients", "parcels"):
        op.drop_index(f"ix_{name}_station", table_name=name)
        with op.batch_alter_table(name) as table:
            table.drop_constraint(op.f(f"fk_{name}_station_id_pickup_stations"), type_="foreignkey")
            table.drop_column("station_id")
    op.execute("DELETE FROM seats WHERE role = 'station'")
    with op.batch_alter_table("seats") as table:
        table.drop_constraint(op.f("ck_seats_one_organization"), type_="check")
        table.create_check_constraint(
            op.f("ck_seats_one_organization"), ONE_ORGANIZATION.format(none="", station="")
        )
        table.drop_constraint(op.f("fk_seats_station_id_pickup_stations"), type_="foreignkey")
        table.drop_column("station_id")
