#!/bin/sh
# Installs OpenAI's clients, which the tests of /v1 are driven by:
#
#   build/openai/js/run     npm's, on the node of the new pi (it needs >= 22): after tests/install-pi.sh
#   build/openai/py/run     PyPI's, on the system's python3
#
# Versions are pinned in tests/openai/. A second run finds the stamps and returns at once. Only npm and pip with
# their configured registries are used.
set -eu
umask 022
cd "$(dirname "$0")/.."
src=tests/openai
dst=build/openai

say() { printf 'install-openai: %s\n' "$*" >&2; }
node=$(echo build/pi/new/node/node_modules/node-linux-*/bin/node)
[ -x "$node" ] || { say "the node of the new pi is missing: run tests/install-pi.sh first"; exit 1; }
command -v npm >/dev/null || { say "npm is missing: install npm"; exit 1; }
command -v python3 >/dev/null || { say "python3 >= 3.9 is missing: install python3"; exit 1; }
python3 -m pip --version >/dev/null 2>&1 || { say "pip is missing: install python3-pip"; exit 1; }

# fresh NAME WANT: true, and an empty folder, if it is not installed as wanted.
fresh() {
    if [ "$(cat "$dst/$1/.stamp" 2>/dev/null || true)" = "$2" ]; then return 1; fi
    say "installing $1"
    rm -rf "${dst:?}/$1"
    mkdir -p "$dst/$1"
}

want=$(cat "$0" "$src"/package*.json "$src/../pi/node-version" | cksum | tr -d ' ')
if fresh js "$want"; then
    cp "$src"/package*.json "$dst/js/"
    (cd "$dst/js" && npm ci --no-audit --no-fund --ignore-scripts --omit=optional --omit=peer --loglevel=error </dev/null >&2)
    cat >"$dst/js/run" <<LAUNCHER
#!/bin/sh
here=\$(CDPATH= cd -- "\$(dirname -- "\$0")" && pwd)
export OPENAI_PACKAGE="\$here/node_modules/openai"
exec "\$here/../../../$node" "\$@"
LAUNCHER
    chmod 755 "$dst/js/run"
    "$dst/js/run" -e 'require(process.env.OPENAI_PACKAGE)' || { say "npm's client cannot be loaded"; exit 1; }
    echo "$want" >"$dst/js/.stamp"
fi

want=$( (cat "$0" "$src/requirements.txt" && python3 -VV) | cksum | tr -d ' ')
if fresh py "$want"; then
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --no-compile \
        --root-user-action=ignore --target "$dst/py/site" -r "$src/requirements.txt" </dev/null >&2
    cat >"$dst/py/run" <<'LAUNCHER'
#!/bin/sh
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
PYTHONPATH="$here/site" exec python3 -s "$@"
LAUNCHER
    chmod 755 "$dst/py/run"
    "$dst/py/run" -c 'import openai' || { say "PyPI's client cannot be loaded"; exit 1; }
    echo "$want" >"$dst/py/.stamp"
fi
