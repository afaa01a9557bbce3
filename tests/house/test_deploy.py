"""deploy/: every setting is told of, what the units and the proxy name exists, and nginx and systemd can read them."""

import os
import re
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from web.settings import NAMES, ROOT, read

DEPLOY = ROOT / "deploy"
EXAMPLE = DEPLOY / "huigong.env.example"


def set_in(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_the_example_tells_of_every_setting_and_of_no_other():
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    told = [found[1] for line in lines if (found := re.match(r"#?([A-Z_]+)=", line))]
    assert told == [*NAMES, "POSTGRES_PASSWORD"]
    for place, line in enumerate(lines):
        if re.match(r"#?[A-Z_]+=", line):
            assert lines[place - 1].startswith("# "), f"{line}: no word of what it is"


def test_the_example_starts_once_the_secrets_are_filled_in():
    environ = set_in(EXAMPLE.read_text(encoding="utf-8"))
    assert environ["SECRET_KEY"] == "", "an example's key would be everybody's"
    settings = read({**environ, "SECRET_KEY": secrets.token_urlsafe(48)})
    assert (settings.production, settings.sandbox, settings.show_codes, settings.secure_cookies) == (
        *(True, False, False, True),
    )
    assert settings.trusted_proxies == 1


def test_units_start_what_there_is():
    for unit in sorted((DEPLOY / "systemd").glob("*.service")):
        text = unit.read_text(encoding="utf-8")
        assert "User=huigong" in text, unit.name
        assert "EnvironmentFile=/etc/huigong/huigong.env" in text, unit.name
    commands = re.findall(r"huigong (\w+)", "\n".join(unit.read_text() for unit in (DEPLOY / "systemd").iterdir()))
    helped = subprocess.run(["huigong", "--help"], capture_output=True, text=True, check=True, env=with_venv()).stdout
    for command in set(commands) - {"check"}:
        assert re.search(rf"^  {command}\b", helped, re.MULTILINE), command


def with_venv() -> dict[str, str]:
    return {**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}


def test_compose_builds_and_starts_what_there_is():
    told = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert set(told["services"]) == {"postgres", "migrate", "web", "worker", "nginx"}
    for name in ("migrate", "web", "worker"):
        assert (DEPLOY / told["services"][name]["build"]["context"] / "deploy" / "Dockerfile").exists()
        assert told["services"][name]["read_only"] is True
    docker = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert "--require-hashes" in docker
    assert docker.index("\nUSER huigong") > docker.rindex("\nFROM ")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_reads_the_units(tmp_path):
    for unit in sorted((DEPLOY / "systemd").glob("huigong-*")):
        text = unit.read_text(encoding="utf-8")
        # The program and its folder are where a server has them, not here.
        text = re.sub(r"/opt/huigong/current/.venv/bin/\w+", "/bin/true", text)
        text = re.sub(r"^(WorkingDirectory|EnvironmentFile|User|Group)=.*\n", "", text, flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
    ran = subprocess.run(
        [*command, *sorted(str(path) for path in tmp_path.iterdir())], capture_output=True, text=True, timeout=60
    )
    said = [line for line in ran.stderr.splitlines() if "huigong" in line]
    assert (ran.returncode, said) == (0, [])


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here")
def test_nginx_reads_its_part(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "fullchain.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=huigong.example"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    proxy = tmp_path / "huigong-proxy.conf"
    shutil.copy(DEPLOY / "nginx" / "huigong-proxy.conf", proxy)
    text = (DEPLOY / "nginx" / "huigong.conf").read_text(encoding="utf-8")
    text = text.replace("/etc/huigong/tls", str(tmp_path)).replace("/etc/nginx/huigong-proxy.conf", str(proxy))
    text = re.sub(r"listen (\[::\]:)?(80|443)", r"listen 127.0.0.1:18\2", text)
    text = re.sub(r"(listen [^;]+;)\s+\1", r"\1", text)
    if older_than(1, 25):
        text = text.replace("443 ssl;", "443 ssl http2;").replace("    http2 on;\n", "")
    whole = tmp_path / "nginx.conf"
    whole.write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\n{text}\n}}\n", encoding="utf-8")
    ran = subprocess.run(
        ["nginx", "-t", "-q", "-e", f"{tmp_path}/log", "-c", str(whole)], capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 0, ran.stderr


def older_than(*version: int) -> bool:
    told = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr
    found = re.search(r"nginx/(\d+)\.(\d+)", told)
    assert found, told
    return (int(found[1]), int(found[2])) < version


def test_the_wrapper_is_a_program():
    assert os.access(DEPLOY / "systemd" / "hg", os.X_OK)
    assert Path("/bin/sh").exists()
