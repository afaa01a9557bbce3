"""A job of many steps: what cannot wait for its end is done between them."""

from kernel import clock, jobs
from kernel.db import db, transaction
from people.services import messages
from tests.factories import csrf_of

M1 = "13800000001"


def queued(kind="long"):
    with transaction():
        jobs.enqueue(kind=kind, arguments={}, total=3, asked_by=None, now=clock.now())


def stepping(steps):
    left = [steps]

    def step(job_id, arguments, now):
        left[0] -= 1
        with transaction():
            jobs.progress(job_id, done=1)
        return left[0] == 0

    return step


def status():
    return db.session.execute(db.select(jobs.Job.status, jobs.Job.done)).one()


def test_a_sign_in_code_does_not_wait_for_the_end_of_a_long_job(world):
    client = world.app.test_client()
    form = {"phone": M1, "csrf_token": csrf_of(client.get("/sign-in").text)}
    assert client.post("/sign-in", data=form).status_code == 200
    taken = []

    class Taking:
        def send(self, message):
            with world.app.app_context():  # whoever sends has a thread of its own
                taken.append((message.to, status().done))
                db.session.remove()

    providers = {"sms": Taking(), "email": Taking()}
    with world.app.app_context():
        queued()

        def deliver():
            messages.deliver(providers, key=world.app.config["HUIGONG"].secret_key, now=clock.now())

        assert jobs.run_next({"long": stepping(3)}, clock=clock.now, meanwhile=deliver)
        assert taken == [(M1, 1)], "after the first step, and once"
        assert tuple(status()) == ("done", 3)
        db.session.remove()


def test_what_fails_meanwhile_ends_no_job(world):
    def fails():
        raise OSError("the gateway is away")

    with world.app.app_context():
        queued()
        assert jobs.run_next({"long": stepping(3)}, clock=clock.now, meanwhile=fails)
        assert tuple(status()) == ("done", 3)
        db.session.remove()
