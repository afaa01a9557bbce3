"""Pictures nobody names any more are collected by night; whatever a pack, a change, an order or a grant names stays."""

from datetime import timedelta
from pathlib import Path

import pytest

from kernel import clock, files, pictures
from kernel.files import StoreUnavailable
from orders.services import tidying
from tests.catalog.test_packs import decide, picture, put_picture, shown
from tests.factories import MERCHANT_A, OPERATOR
from tests.orders.test_parcels import bought

M1 = "13800000001"
TOMORROW = timedelta(days=1, minutes=1)


@pytest.fixture
def own_files(world, tmp_path, monkeypatch):
    """A folder of this test's own."""
    monkeypatch.setitem(world.app.config, "FILES", files.store_at(str(tmp_path / "files")))
    return tmp_path / "files"


def kept(folder):
    return {pictures.name_of(path.name) for path in Path(folder).glob("*/*")}


def collect(world, *, after=TOMORROW):
    with world.app.app_context():
        return tidying.collect(world.app.config["FILES"], now=clock.now() + after)


def upload(world, folder):
    before = kept(folder)
    assert put_picture(world, picture()).status_code == 200
    (new,) = kept(folder) - before
    return new


def test_only_what_nobody_names_is_collected(world, own_files):
    first = upload(world, own_files)
    decide(world, "approve")
    number = bought(world, ("A150", 1))
    gift = {"name": "慰问", "pack_id": world.packs["A150"], "recipients": [{"name": "甲", "phone": M1}]}
    second = upload(world, own_files)  # approved: the pack's; but the order shows the first
    decide(world, "approve")
    assert world.call(OPERATOR, "POST", "/admin/campaigns/spring/grants", gift).status_code == 201
    third = upload(world, own_files)  # approved: the pack's; but the grant shows the second
    decide(world, "approve")
    withdrawn = upload(world, own_files)
    refused = upload(world, own_files)  # in its place
    decide(world, "reject", reason="糊")
    waiting = upload(world, own_files)
    with world.app.app_context():
        evidence = pictures.keep(world.app.config["FILES"], picture())  # a buyer's: not for everybody
    assert collect(world) == 2
    assert kept(own_files) == {first, second, third, waiting, evidence}
    assert withdrawn not in kept(own_files)
    assert refused not in kept(own_files)
    assert collect(world) == 0
    client = world.app.test_client()
    assert client.get(shown(world)["picture_url"]).status_code == 200
    line = world.call(M1, "GET", f"/orders/{number}").json["lines"][0]
    assert line["name"] == "礼包A150"


def test_what_was_refused_last_can_still_be_looked_at(world, own_files):
    refused = upload(world, own_files)
    decide(world, "reject", reason="糊")
    assert collect(world) == 0
    assert kept(own_files) == {refused}


def test_what_was_just_kept_is_spared(world, own_files):
    with world.app.app_context():
        name = pictures.keep(world.app.config["FILES"], picture(), public=True)
    assert collect(world, after=timedelta(hours=23)) == 0
    assert kept(own_files) == {name}
    assert collect(world) == 1
    assert list(own_files.glob("*/*")) == []


def test_it_is_done_in_its_hour_only(world, own_files):
    with world.app.app_context():
        store = world.app.config["FILES"]
        pictures.keep(store, picture(), public=True)
        night = clock.start_of_day(clock.local(clock.now()).date() + timedelta(days=2)) + timedelta(hours=3)
        assert tidying.collect_nightly(store, now=night - timedelta(hours=1)) == 0
        assert tidying.collect_nightly(store, now=night + timedelta(minutes=30)) == 1
        assert tidying.collect_nightly(store, now=night + timedelta(hours=1)) == 0


def test_a_store_that_fails_loses_nothing(world, own_files, monkeypatch):
    name = upload(world, own_files)
    store = world.app.config["FILES"]

    def away(*_, **__):
        raise StoreUnavailable("文件服务暂时不可用，请稍后再试。")

    monkeypatch.setattr(type(store), "names", away)
    with pytest.raises(StoreUnavailable):
        collect(world)
    assert kept(own_files) == {name}
    assert world.call(MERCHANT_A, "GET", "/merchant/packs").status_code == 200
