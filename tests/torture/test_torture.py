"""A short run of the torture: about a minute. `make torture` is the long one."""

from tests.torture.run import torture


def test_a_short_run_breaks_nothing(tmp_path):
    outcome = torture(seconds=35, members=25, seed=20270127, folder=tmp_path / "run", pause=0.8, every=1.5)
    print(outcome)  # shown where it fails: the seed, what was done, what went wrong around it
    assert outcome.breaches == []
    assert outcome.faults.get("PostgreSQL killed", 0) >= 1
    assert outcome.faults.get("gunicorn workers killed", 0) >= 1
    assert outcome.faults.get("job workers killed", 0) >= 1
    assert outcome.faults.get("connections cut", 0) >= 1
    assert outcome.faults.get("webhooks lost", 0) >= 1
