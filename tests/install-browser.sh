#!/bin/sh
# Chromium and its driver, for the tests of the page: from the distribution, if they are missing.
set -eu
command -v chromium >/dev/null && command -v chromedriver >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "install-browser: installing chromium and chromium-driver" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-dejavu-core >/dev/null
fi
for program in chromium chromedriver; do
    command -v "$program" >/dev/null && continue
    echo "install-browser: $program is missing; install it from your distribution (Debian: chromium, chromium-driver)" >&2
    exit 1
done
