"""How gunicorn serves: sync workers from cores, bounded lives, graceful ends."""

import multiprocessing
import os

from kernel import logs

workers = int(os.environ.get("WEB_CONCURRENCY", min(2 * multiprocessing.cpu_count() + 1, 9)))
timeout = 60
graceful_timeout = 30
max_requests = 20_000
max_requests_jitter = 2_000
accesslog = None  # web.requests writes a line for each request, which says its route and not its address
logconfig_dict = logs.config(*logs.chosen(os.environ))
control_socket_disable = True  # it would want a home folder, and two servers of one user would share it
