#!/bin/sh
# Install Chromium for the browser journeys: from the system's packages, else by Playwright. Says loudly if it cannot.
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -q chromium fonts-noto-cjk >/dev/null && exit 0
fi
.venv/bin/python -m playwright install chromium && exit 0
echo "*** No Chromium could be installed: the browser journeys will fail. Set HUIGONG_NO_BROWSER=1 to leave them out." >&2
exit 0
