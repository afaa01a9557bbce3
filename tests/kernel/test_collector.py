"""What a worker loaded is left to itself by the collector."""

import subprocess
import sys

from web.settings import ROOT


def test_a_worker_does_not_look_through_what_it_loaded(tmp_path):
    code = "import gc, wsgi; print(gc.get_freeze_count() > 100_000, gc.get_threshold()[0], gc.isenabled())"
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path / 'w.db'}", "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert ran.stdout.split() == ["True", "10000", "True"], ran.stderr
