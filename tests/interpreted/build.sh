#!/usr/bin/env bash
# Builds the policies in Python and JavaScript into target/policies/interpreted.
#
# Needs python3 with venv, and node with npm. The tools themselves are fetched once, at the versions
# below, into target/venv and target/npm; later runs need no network.
set -euo pipefail

componentize_py=0.25.1
componentize_qjs=0.4.5

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
out=$target/policies/interpreted
mkdir -p "$out"

# A component is made again when its source, the contract or this script is newer.
fresh() {
    local component=$1 source=$2
    [ -f "$component" ] && [ "$component" -nt "$source" ] &&
        [ "$component" -nt "$root/wit/policy.wit" ] && [ "$component" -nt "$0" ]
}

need() {
    command -v "$1" >/dev/null || { echo "$0: $1 is not installed" >&2; exit 1; }
}

if ! fresh "$out/fcfs-python.wasm" "$here/fcfs.py"; then
    need python3
    tool=$target/venv/bin/componentize-py
    if [ "$("$tool" --version 2>/dev/null)" != "componentize-py $componentize_py" ]; then
        python3 -m venv "$target/venv"
        "$target/venv/bin/pip" install --quiet "componentize-py==$componentize_py"
    fi
    # Without --stub-wasi Python would ask for clocks, files and random numbers.
    "$tool" --wit-path "$root/wit" --world packed-policy \
        componentize --stub-wasi --python-path "$here" --output "$out/fcfs-python.wasm.new" fcfs
    mv "$out/fcfs-python.wasm.new" "$out/fcfs-python.wasm"
fi

if ! fresh "$out/isrtf-javascript.wasm" "$here/isrtf.js"; then
    need npm
    tool=$target/npm/node_modules/.bin/componentize-qjs
    package=$target/npm/node_modules/componentize-qjs/package.json
    if ! grep -qs "\"version\": \"$componentize_qjs\"" "$package"; then
        npm install --silent --no-audit --no-fund --prefix "$target/npm" \
            "componentize-qjs@$componentize_qjs"
    fi
    "$tool" --wit "$root/wit" --world packed-policy --js "$here/isrtf.js" --stub-wasi --sync \
        --output "$out/isrtf-javascript.wasm.new"
    mv "$out/isrtf-javascript.wasm.new" "$out/isrtf-javascript.wasm"
fi

ls -l "$out"
