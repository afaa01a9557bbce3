"""What gunicorn loads."""

import gc

from web.app import create_app

app = create_app()
# What was loaded stays for good: the collector need not look through it again in the middle of a large request.
gc.collect()
gc.freeze()
