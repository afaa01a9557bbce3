"""What gunicorn loads."""

import os

from kernel import collector, logs
from web.app import create_app

logs.install(*logs.chosen(os.environ))
app = create_app()
collector.settle()
