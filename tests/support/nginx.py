"""Debian's nginx for tests, from a directory of its own, without root: a shared cache, a load balancer."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.ports import free_port

# One process, in the foreground: it stays the user that starts it, and ends with the test.
CONFIGURATION = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    proxy_temp_path {directory}/proxy;
    proxy_cache_path {directory}/cache keys_zone=shared:1m;
    upstream site {{
        {servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://site;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            {more}
        }}
    }}
}}
"""
# `proxy_cache_valid` is the hard case: it keeps each 200 that does not say otherwise.
CACHE = """
            proxy_cache shared;
            proxy_cache_valid 200 1m;
            proxy_cache_revalidate on;
            add_header X-Cache $upstream_cache_status always;
"""
# One after the other, whoever asks; one that cannot be reached is passed by for this answer alone.
BALANCER = "add_header X-Host $upstream_addr always;"


@contextmanager
def shared_cache(upstream: int, directory: Path) -> Iterator[str]:
    """Give the address of an nginx that keeps for everyone what the server on port `upstream` lets it keep."""
    with _nginx([upstream], directory, CACHE) as url:
        yield url


@contextmanager
def load_balancer(upstreams: Sequence[int], directory: Path) -> Iterator[str]:
    """Give the address of an nginx that passes each request to another one of these ports, and tells to which."""
    with _nginx(upstreams, directory, BALANCER) as url:
        yield url


@contextmanager
def _nginx(upstreams: Sequence[int], directory: Path, more: str) -> Iterator[str]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("no nginx: sudo apt-get install nginx-light")
    port = free_port()
    servers = " ".join(f"server 127.0.0.1:{upstream} max_fails=0;" for upstream in upstreams)
    file = directory / "nginx.conf"
    file.write_text(CONFIGURATION.format(directory=directory, port=port, servers=servers, more=more))
    process = subprocess.Popen(
        [program, "-c", file, "-e", directory / "error.log"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _await_port(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    while process.poll() is None:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"nginx did not start: {process.communicate()[1].decode()}")
