"""What gunicorn loads."""

import gc
import os

from kernel import logs
from web.app import create_app

logs.install(*logs.chosen(os.environ))
app = create_app()
# What was loaded stays for good: the collector need not look through it again in the middle of a large request.
gc.collect()
gc.freeze()
# And it looks through what requests made only every tenth request or so, not several times in each.
gc.set_threshold(10_000, 10, 10)
