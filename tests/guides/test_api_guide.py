"""Every line of the API guide is run, as it stands there, against a served demonstration."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests
from python_calamine import CalamineWorkbook

from web.settings import ROOT

BLOCK = re.compile(r"^```(sh|python)(?: (\S+))?\n(.*?)^```", re.M | re.S)
needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None and os.environ.get("HUIGONG_REQUIRE_ALL") != "1", reason="curl is not here"
)


def blocks(language=""):
    return BLOCK.findall((ROOT / "docs" / "guides" / f"api{language}.md").read_text(encoding="utf-8"))


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(port, tries=600):
    for _ in range(tries):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"nothing listens on {port}")


@pytest.fixture
def served(tmp_path):
    """The environment of a reader of the guide who has run `make demo`."""
    port = free_port()
    environ = {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path / 'demo.db'}", "WEB_CONCURRENCY": "2"}
    environ.pop("HUIGONG_ENV", None)
    log = (tmp_path / "demo.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "web.cli", "demo", "--port", str(port)],
        cwd=ROOT,
        env=environ,
        stdout=log,
        stderr=log,
    )
    try:
        wait_for(port)
        yield environ | {
            "HUIGONG": f"http://127.0.0.1:{port}",
            "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        }
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        log.close()


def shell(pieces, folder, environ):
    """Run pieces of the guide one after the other; what they set stays for the next ones."""
    kept = folder / "kept.sh"
    start = f". {kept}\n" if kept.exists() else ""
    # The guide's reader stands in the project's root; the test in a folder of its own.
    text = "\n".join(pieces).replace(".venv/bin/huigong", "huigong_of_the_project")
    ours = f'huigong_of_the_project() {{ (cd "{ROOT}" && "{sys.executable}" -W ignore -m web.cli "$@"); }}\n'
    script = f"set -eu\n{start}{ours}{text}\n{{ declare -p | grep -E '^declare -[x-]+ [A-Z]'; declare -f; }} > {kept}\n"
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def exported(name, folder):
    return re.search(rf'^declare -x {name}="(.+)"$', (folder / "kept.sh").read_text(), re.M)[1]


@needs_curl
def test_every_line_of_the_guide_runs(served, tmp_path):
    folder = tmp_path / "reader"
    folder.mkdir()
    parts = blocks()
    programs = {name: text for language, name, text in parts if language == "python"}
    assert sorted(programs) == ["merchant.py", "receiver.py", "union.py"]
    for name, text in programs.items():
        (folder / name).write_text(text, encoding="utf-8")
    before = [text for language, _, text in parts[: [name for _, name, _ in parts].index("receiver.py")]]
    after = [text for language, _, text in parts[len(before) + 1 :] if language == "sh"]
    assert (len(before), len(after)) == (2, 3)

    port = free_port()
    environ = served | {"RECEIVER_PORT": str(port), "RECEIVER": f"http://127.0.0.1:{port}/huigong"}
    shell(before, folder, environ)
    told = (folder / "told.log").open("w+")
    receiver = subprocess.Popen([sys.executable, "receiver.py"], cwd=folder, env=environ, stdout=told, stderr=told)
    try:
        wait_for(port)
        forged = requests.post(environ["RECEIVER"], data="{}", headers={"Huigong-Signature": "t=1,v1=00"}, timeout=10)
        assert forged.status_code == 400
        said = shell(after, folder, environ)
        assert re.findall(r"^(shipped|submitted|approved)$", said, re.M) == ["shipped", "submitted", "approved"]
        assert '"reason": "delivery note 4711"' in said or '"reason":"delivery note 4711"' in said
        assert '"reference":' in said
        rows = CalamineWorkbook.from_path(str(folder / "sign-off.xlsx")).get_sheet_by_index(0).to_python()
        assert any("王芳" in row for row in rows)
        for _ in range(200):
            told.seek(0)
            if (heard := told.read()).count("parcel.made") == 2:
                break
            time.sleep(0.1)
        assert heard.count("parcel.made") == 2, heard
    finally:
        receiver.terminate()
        receiver.wait(10)
        told.close()

    keys = {name: exported(name, folder) for name in ("MERCHANT", "OFFICER", "APPROVER")}

    def run(name):
        command = [sys.executable, name]
        done = subprocess.run(command, cwd=folder, env=environ | keys, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    # The pack that the union's order holds is not the last: nothing of it is held or sold, all 500 can be had.
    assert run("merchant.py") == ["parcel shipped", "available of the last 500"]
    assert run("merchant.py") == ["available of the last 500"], "started twice, done once"
    accepted, status, refused, transfer = run("union.py")
    assert (accepted, status) == ("accepted 2 rejected 0", "submitted")
    assert refused.startswith("forbidden: ")
    assert re.fullmatch(r"transfer 16000 fen with reference HG\d+", transfer)


def test_both_languages_have_the_same_examples():
    assert blocks() == blocks(".zh-CN")
