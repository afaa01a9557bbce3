"""What gunicorn loads."""

from web.app import create_app

app = create_app()
