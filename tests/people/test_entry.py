"""Signing in: by code, by password and second factor, by a provider; and what must not open a door."""

import re
from datetime import timedelta

import pyotp
import pytest
from sqlalchemy import select, text, update

from kernel import audit, clock, limits
from kernel.db import db
from kernel.errors import RateLimited
from people import queries
from people.models import ApiToken, Credential, Message, SignIn, SignInCode
from people.services import entry, messages, senders, staff, tokens
from tests.factories import APPROVER, MERCHANT_A, OFFICER, OPERATOR, csrf_of

M1 = "13800000001"
KEY = "a test's secret key of some length"
FREE = entry.Limits(1000, 1000)
PASSWORD = "correct horse battery"


@pytest.fixture
def strict(world):
    """As in production: a code opens no seat."""
    settings = world.app.config["HUIGONG"]
    world.app.config["HUIGONG"] = settings.__class__(**{**settings.__dict__, "staff_by_code": False})
    yield world
    world.app.config["HUIGONG"] = settings


def ask(world, phone=M1, now=None):
    with world.app.app_context():
        return entry.ask_for_code(phone=phone, key=KEY, allowed=FREE, now=now or clock.now())[1]


def use(world, code, phone=M1, now=None):
    with world.app.app_context():
        return entry.sign_in_by_code(phone=phone, code=code, key=KEY, allowed=FREE, now=now or clock.now())


def give_password(world, phone):
    """A first password as an operator gives it; return (name, password)."""
    with world.app.app_context():
        person = queries.by_phone(phone)
        return staff.give_password(person_id=person.person_id, actor_id=None, now=clock.now())


def post(client, path, **form):
    page = client.get(path if not path.startswith("/account/") else "/account/").text
    return client.post(path, data={"csrf_token": csrf_of(page), **form})


def staff_client(world, phone, password=PASSWORD):
    """A client signed in by name and password, with the second factor where the seat needs one."""
    login, first = give_password(world, phone)
    client = world.app.test_client()
    answer = post(client, "/sign-in/staff", login=login, password=first)
    assert answer.location == "/sign-in/password"
    answer = post(client, "/sign-in/password", old=first, new=password)
    codes = []
    if answer.location == "/sign-in/set-up":
        secret = re.search(r'id="totp-secret">([A-Z2-7]+)<', client.get("/sign-in/set-up").text)[1]
        page = post(client, "/sign-in/set-up", code=pyotp.TOTP(secret).now()).text
        codes = re.findall(r"<code>([0-9a-f-]{27})</code>", page)
    return client, login, codes


def test_a_code_is_six_digits_hashed_and_good_once(world):
    code = ask(world)
    assert re.fullmatch(r"\d{6}", code)
    with world.app.app_context():
        row = db.session.scalar(select(SignInCode))
        assert code not in row.code_hash
        assert code not in db.session.scalar(select(Message.sealed))
    assert use(world, code).person_id
    with pytest.raises(entry.WrongCode):
        use(world, code)


def test_a_new_code_ends_the_one_before(world):
    first, second = ask(world), ask(world)
    if first != second:
        with pytest.raises(entry.WrongCode):
            use(world, first)
    assert use(world, second)


def test_a_code_ends_after_five_minutes(world):
    begun = clock.now()
    code = ask(world, now=begun)
    with pytest.raises(entry.WrongCode):
        use(world, code, now=begun + timedelta(seconds=300))
    assert use(world, ask(world, now=begun), now=begun + timedelta(seconds=299))


def test_a_code_ends_after_five_tries(world):
    code = ask(world)
    for _ in range(5):
        with pytest.raises(entry.WrongCode):
            use(world, "000000" if code != "000000" else "000001")
    with pytest.raises(entry.WrongCode):
        use(world, code)


def test_an_unknown_phone_is_answered_like_a_known_one_and_nothing_is_sent(world):
    client = world.app.test_client()
    pages = []
    for phone in (M1, "13899999999"):
        page = post(client, "/sign-in", phone=phone)
        pages.append(re.sub(r"\d{6,}|value=\"[^\"]+\"", "", page.text.replace(phone, "")))
        assert page.status_code == 200
    assert pages[0] == pages[1]
    with world.app.app_context():
        rows = dict(db.session.execute(select(Message.phone, Message.status)).all())
        assert rows == {M1: "waiting", "13899999999": "unknown"}
        assert messages.deliver(senders.senders_of("", ""), key=KEY, now=clock.now()) == 1


def test_codes_of_a_phone_and_tries_of_an_address_are_limited(world):
    scarce = entry.Limits(codes_per_phone=2, tries_per_address=4)
    now = clock.now().replace(minute=1, second=0)
    with world.app.app_context():
        for _ in range(2):
            entry.ask_for_code(phone=M1, key=KEY, allowed=scarce, now=now)
        with pytest.raises(RateLimited) as refused:
            entry.ask_for_code(phone=M1, key=KEY, allowed=scarce, now=now)
        assert 0 < refused.value.extra["retry_after"] <= 601
        entry.ask_for_code(phone="13800000002", key=KEY, allowed=scarce, now=now)
        with pytest.raises(RateLimited):
            entry.ask_for_code(phone="13800000003", key=KEY, allowed=scarce, now=now)
        entry.ask_for_code(phone=M1, key=KEY, allowed=scarce, now=now + timedelta(minutes=10))


def test_a_page_answers_429_with_retry_after(world):
    client, statuses = world.app.test_client(), []
    for _ in range(11):
        answer = post(client, "/sign-in", phone=M1)
        statuses.append(answer.status_code)
    assert statuses[:9] == [200] * 9
    assert statuses[-1] == 429
    assert int(answer.headers["Retry-After"]) > 0


def test_counts_of_past_windows_are_dropped(world):
    now = clock.now()
    with world.app.app_context():
        limits.spend("x", "y", at_most=1, seconds=1, now=now - timedelta(hours=1))
        entry.forget_old(now=now)
        assert db.session.scalar(text("SELECT count(*) FROM rate_counts")) == 0


class Refusing:
    def send(self, one):
        raise senders.Refused("HTTP 400")


def test_a_refused_message_is_tried_again_later_then_given_up_and_emptied(world):
    ask(world)
    now = clock.now()
    with world.app.app_context():
        refusing = {"sms": Refusing(), "email": Refusing()}
        assert messages.deliver(refusing, key=KEY, now=now) == 0
        assert messages.deliver(refusing, key=KEY, now=now) == 0, "not before its time"
        assert db.session.scalar(select(Message.tries)) == 1
        messages.deliver(refusing, key=KEY, now=now + timedelta(minutes=6))
        db.session.expire_all()
        row = db.session.scalar(select(Message))
        assert (row.status, row.sealed) == ("failed", "")


def test_a_gateway_gets_phone_and_code_once(world, http_server):
    server = http_server(lambda path, headers, body: (200, '{"code":0}'))
    code = ask(world)
    gateway = senders.sender_of(
        f'{{"url": "{server.url}/send?to=$phone", "body": "code=$code", "headers": {{"X-Key": "k"}}, '
        '"accepted": "\\"code\\":0"}'
    )
    with world.app.app_context():
        for sent in (1, 0):
            assert messages.deliver({"sms": gateway, "email": gateway}, key=KEY, now=clock.now()) == sent
        assert db.session.scalar(select(Message.sealed)) == ""
    assert [(path, headers["X-Key"], body) for path, headers, body in server.seen] == [
        (f"/send?to={M1}", "k", f"code={code}")
    ]


def test_signing_in_changes_the_secret_and_the_old_cookie_opens_nothing(world):
    client = world.browser(M1)
    with client.session_transaction() as session:
        first = session["sign_in"]
    again = world.browser(M1)
    with again.session_transaction() as session:
        assert session["sign_in"] != first
    assert post(client, "/sign-in", phone=M1).status_code == 200
    post(client, "/account/sign-ins/end")
    for gone in (client, again):
        assert gone.get("/orders").status_code == 302


def test_signing_out_ends_the_sign_in_also_for_a_copied_cookie(world):
    client = world.browser(M1)
    with client.session_transaction() as session:
        copied = dict(session)
    client.post("/sign-out", data={"csrf_token": csrf_of(client.get("/").text)})
    thief = world.app.test_client()
    with thief.session_transaction() as session:
        session.update(copied)
    assert thief.get("/orders").status_code == 302


@pytest.mark.parametrize("column", ["idle_until", "expires_at"])
def test_a_sign_in_ends_when_idle_and_after_its_limit(world, column):
    client = world.browser(M1)
    assert client.get("/orders").status_code == 200
    with world.app.app_context():
        db.session.execute(update(SignIn).values({column: clock.now() - timedelta(seconds=1)}))
        db.session.commit()
    assert client.get("/orders").status_code == 302


def test_the_cookie_is_for_http_and_this_site_only(world):
    client = world.app.test_client()
    cookie = client.get("/sign-in").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_a_form_without_its_token_is_refused(world):
    client = world.browser(M1)
    for path in ("/sign-in", "/sign-in/staff", "/account/tokens", "/sign-out", "/cart"):
        assert client.post(path, data={"phone": M1}).status_code == 400, path


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\t/evil.example", "\\\\evil.example"])
def test_signing_in_leads_nowhere_else(world, target):
    client = world.app.test_client()
    form = {"phone": M1, "next": target, "csrf_token": csrf_of(client.get("/sign-in").text)}
    page = client.post("/sign-in", data=form).text
    code = re.search(r'id="code-shown"[^>]*>(\d{6})<', page)[1]
    assert client.post("/sign-in", data={**form, "code": code}).location == "/"


def test_a_code_opens_no_seat_in_production(strict):
    client = strict.browser(OPERATOR)
    assert client.get("/admin/").status_code == 403
    assert strict.browser(OFFICER).get("/union/").status_code == 403
    assert strict.browser(M1).get("/orders").status_code == 200


def test_an_officer_signs_in_by_password_and_an_approver_needs_the_second_factor(strict):
    officer, _, codes = staff_client(strict, OFFICER)
    assert codes == []
    assert officer.get("/union/").status_code == 200
    approver, login, codes = staff_client(strict, APPROVER)
    assert len(codes) == 10
    assert approver.get("/union/").status_code == 200
    half = strict.app.test_client()
    assert post(half, "/sign-in/staff", login=login, password=PASSWORD).location == "/sign-in/factor"
    assert half.get("/union/").status_code == 302, "a password alone opens nothing"
    assert post(half, "/sign-in/factor", code="000000").status_code == 422
    assert post(half, "/sign-in/factor", code=codes[0]).status_code == 303
    assert half.get("/union/").status_code == 200
    again = strict.app.test_client()
    post(again, "/sign-in/staff", login=login, password=PASSWORD)
    assert post(again, "/sign-in/factor", code=codes[0]).status_code == 422, "a recovery code is good once"


def test_a_time_based_code_is_taken_once(strict):
    _, login, _ = staff_client(strict, OPERATOR)
    with strict.app.app_context():
        person_id = queries.by_phone(OPERATOR).person_id
        row = db.session.get(Credential, person_id)
        assert login == OPERATOR
        from kernel.sealing import unseal

        secret = unseal(row.totp_sealed, key=KEY, purpose="totp")
        assert secret not in row.totp_sealed
        later = clock.now() + timedelta(seconds=60)
        code = pyotp.TOTP(secret).at(later)
        entry.check_second_factor(person_id=person_id, code=code, key=KEY, allowed=FREE, now=later)
        with pytest.raises(entry.WrongCode):
            entry.check_second_factor(person_id=person_id, code=code, key=KEY, allowed=FREE, now=later)


def test_wrong_passwords_lock_the_name_for_longer_and_longer(strict):
    _, login, _ = staff_client(strict, OFFICER)
    now = clock.now()

    def tried(password, at):
        with strict.app.app_context():
            return entry.check_password(login=login, password=password, allowed=FREE, now=at)

    for _ in range(5):
        with pytest.raises(entry.WrongPassword):
            tried("wrong", now)
    with pytest.raises(RateLimited) as locked:
        tried(PASSWORD, now)
    assert locked.value.extra["retry_after"] == 31
    with pytest.raises(entry.WrongPassword):
        tried("wrong", now + timedelta(seconds=31))
    with pytest.raises(RateLimited) as locked:
        tried(PASSWORD, now + timedelta(seconds=62))
    assert locked.value.extra["retry_after"] == 30
    assert tried(PASSWORD, now + timedelta(seconds=92))[0].phone == OFFICER
    with pytest.raises(entry.WrongPassword):
        tried("wrong", now + timedelta(seconds=93))


def test_an_unknown_name_is_answered_like_a_wrong_password(strict):
    _, login, _ = staff_client(strict, OFFICER)
    client = strict.app.test_client()
    said = [post(client, "/sign-in/staff", login=name, password="wrong").text for name in (login, "nobody")]
    assert re.sub(r'value="[^"]*"', "", said[0]) == re.sub(r'value="[^"]*"', "", said[1])


@pytest.mark.parametrize("weak", ["short", "aaaaaaaaaaaa", OFFICER, "x" * 201])
def test_a_weak_password_is_refused_beside_its_field(strict, weak):
    login, first = give_password(strict, OFFICER)
    client = strict.app.test_client()
    post(client, "/sign-in/staff", login=login, password=first)
    answer = post(client, "/sign-in/password", old=first, new=weak)
    assert answer.status_code == 422
    assert 'id="new-error"' in answer.text
    assert client.get("/union/").status_code == 302


def test_changing_the_password_ends_every_other_sign_in(strict):
    client, login, _ = staff_client(strict, OFFICER)
    other = strict.app.test_client()
    post(other, "/sign-in/staff", login=login, password=PASSWORD)
    assert other.get("/union/").status_code == 200
    answer = post(client, "/account/password", old=PASSWORD, new="another long password")
    assert answer.status_code == 303
    assert client.get("/union/").status_code == 200
    assert other.get("/union/").status_code == 302
    assert post(client, "/account/password", old=PASSWORD, new="a third long password").status_code == 422


def test_tokens_are_scoped_expire_and_are_revoked(world):
    client = world.browser(MERCHANT_A)
    page = post(client, "/account/tokens", name="仓库", scopes=["read"], days="30").text
    token = re.search(r'id="new-token"[^>]*>(hg_[^<]+)<', page)[1]
    assert token not in client.get("/account/").text, "shown once"
    headers = {"Authorization": f"Bearer {token}"}
    api = world.app.test_client()
    assert api.get("/api/v1/merchant/parcels", headers=headers).status_code == 200
    stock = f"/api/v1/merchant/packs/{world.packs['A150']}/stock"
    refused = api.post(stock, headers=headers, json={"delta": 1, "reason": "x"})
    assert (refused.status_code, refused.json["code"]) == (403, "forbidden")
    with world.app.app_context():
        row = db.session.scalar(select(ApiToken).where(ApiToken.name == "仓库"))
        assert token not in (row.token_hash, row.name)
        token_id = row.id
        db.session.execute(update(ApiToken).where(ApiToken.id == row.id).values(expires_at=clock.now()))
        db.session.commit()
    assert api.get("/api/v1/me", headers=headers).status_code == 401
    with world.app.app_context():
        later = clock.now() + timedelta(days=1)
        db.session.execute(update(ApiToken).where(ApiToken.id == token_id).values(expires_at=later))
        db.session.commit()
    assert api.get("/api/v1/me", headers=headers).status_code == 200
    stranger = world.browser(M1)
    assert post(stranger, f"/account/tokens/{token_id}/revoke").status_code == 404
    assert post(client, f"/account/tokens/{token_id}/revoke").status_code == 303
    assert api.get("/api/v1/me", headers=headers).status_code == 401


def test_signing_in_takes_one_query(world):
    from tests.house.test_pages import statements

    client = world.browser(M1)
    with world.app.app_context():
        engine = db.engine
    seen = statements(client, engine, "/account/")
    assert sum("sign_ins" in statement and "people" in statement for statement in seen) == 1


def test_every_act_of_staff_is_in_the_audit(strict):
    staff_client(strict, OPERATOR)
    with strict.app.app_context():
        acts = [row.action for row in audit.entries(limit=50)]
    assert {"password.give", "password.change", "totp.set_up", "sign_in"} <= set(acts)


def test_a_provider_may_name_members_by_number_and_only_its_unions(world):
    with world.app.app_context():
        assert entry.by_provider(union_code="U1", claim="employee", value="M1").phone == M1
        for union_code, value in (("U2", "M1"), ("U1", "M5"), ("U1", ""), ("U1", "nobody")):
            with pytest.raises(entry.WrongCode):
                entry.by_provider(union_code=union_code, claim="employee", value=value)


def test_a_staff_name_gets_a_token(world):
    with world.app.app_context():
        person_id = queries.by_phone(OFFICER).person_id
        staff.give_password(person_id=person_id, login="he.huimin", actor_id=None, now=clock.now())
        token = tokens.make_for_login(login="he.huimin", name="x", now=clock.now())
    answer = world.app.test_client().get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.json["roles"] == ["union_officer"]


def test_a_code_makes_no_operators_token_in_production(strict):
    client = strict.browser(OPERATOR)
    page = post(client, "/account/tokens", name="x", scopes=["read", "admin"], days="30").text
    token = re.search(r'id="new-token"[^>]*>(hg_[^<]+)<', page)[1]
    headers = {"Authorization": f"Bearer {token}"}
    api = strict.app.test_client()
    assert api.get("/api/v1/admin/audit", headers=headers).status_code == 403
    operator, _, _ = staff_client(strict, OPERATOR)
    page = post(operator, "/account/tokens", name="x", scopes=["read", "admin"], days="30").text
    token = re.search(r'id="new-token"[^>]*>(hg_[^<]+)<', page)[1]
    assert api.get("/api/v1/admin/audit", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_a_name_nobody_has_is_locked_like_one_somebody_has(strict):
    now = clock.now().replace(second=1)
    refused = []
    for _ in range(7):
        with strict.app.app_context(), pytest.raises((entry.WrongPassword, RateLimited)) as told:
            entry.check_password(login="nobody", password="x", allowed=FREE, now=now)
        refused.append(told.value.code)
    assert refused == ["wrong_password"] * 5 + ["rate_limited"] * 2


def test_a_page_that_is_nowhere_still_knows_who_is_signed_in(world):
    client = world.browser(M1)
    page = client.get("/nowhere", headers={"Accept": "text/html"})
    assert (page.status_code, "会员1" in page.text, "登录</a>" in page.text) == (404, True, False)
    stranger = world.app.test_client().get("/nowhere", headers={"Accept": "text/html"})
    assert (stranger.status_code, "会员1" in stranger.text, "登录</a>" in stranger.text) == (404, False, True)
