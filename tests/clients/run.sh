#!/usr/bin/env bash
# Drives a running server with the clients and load tools that people use.
#
#   run.sh URL [openai|curl|aiperf|guidellm]...      openai and curl where nothing is named
#
# URL is that of the server without /v1. API_KEY is sent where it is set; REQUESTS and CONCURRENCY
# say how hard the load tools push. The tools are installed once, at the versions below, into
# target/clients; one that cannot be had is left out, which is said. guidellm brings torch: 6 GB.
set -euo pipefail

openai=3.54.0
aiperf=0.13.0
guidellm=0.8.1

url=${1:?usage: run.sh URL [openai|curl|aiperf|guidellm]...}
url=${url%/}
shift
[ $# -gt 0 ] || set -- openai curl
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}/clients
requests=${REQUESTS:-40}
concurrency=${CONCURRENCY:-8}
key=${API_KEY:+--api-key $API_KEY}
# HF_HUB_OFFLINE is not among them: with it aiperf looks for the tokenizer's path in the hub's cache.
export HF_HUB_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1
unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE

# Makes a venv with a package at a version, once; fails where there is no Python or no network.
have() {
    local tool=$1 version=$2
    command -v python3 >/dev/null || { echo "$tool is left out: python3 is not installed"; return 1; }
    [ "$(cat "$target/$tool/version" 2>/dev/null)" = "$version" ] && return 0
    rm -rf "${target:?}/$tool"
    python3 -m venv "$target/$tool" &&
        "$target/$tool/bin/pip" install --quiet "$tool==$version" &&
        echo "$version" >"$target/$tool/version" ||
        { echo "$tool is left out: it cannot be installed"; return 1; }
}

# A tokenizer that needs no hub.
tokenizer() {
    [ -d "$target/tokenizer" ] || "$target/$1/bin/python" "$here/tokenizer.py" "$target/tokenizer"
}

model() {
    curl -fsS ${API_KEY:+-H "Authorization: Bearer $API_KEY"} "$url/v1/models" |
        sed 's/.*"data":\[{"id":"\([^"]*\)".*/\1/'
}

run_openai() {
    have openai "$openai" || return 0
    # shellcheck disable=SC2086
    "$target/openai/bin/python" "$here/session.py" "$url/v1" $key
}

run_curl() {
    command -v curl >/dev/null || { echo "curl is left out: it is not installed"; return 0; }
    bash "$here/curl.sh" "$url"
}

run_aiperf() {
    have aiperf "$aiperf" || return 0
    tokenizer aiperf
    local out=$target/aiperf-results endpoint stream
    for endpoint in chat completions; do
        for stream in --streaming ""; do
            rm -rf "$out"
            # shellcheck disable=SC2086
            "$target/aiperf/bin/aiperf" profile --model "$(model)" --url "$url" \
                --endpoint-type "$endpoint" $stream --tokenizer "$target/tokenizer" \
                --isl 64 --osl 16 --extra-inputs ignore_eos:true --request-count "$requests" \
                --concurrency "$concurrency" --random-seed 7 --ui none --no-gpu-telemetry \
                --no-server-metrics --artifact-dir "$out" $key >"$target/aiperf.log" 2>&1 ||
                { cat "$target/aiperf.log"; return 1; }
            python3 "$here/complete.py" aiperf "$out" "$requests"
        done
    done
}

run_guidellm() {
    have guidellm "$guidellm" || return 0
    tokenizer guidellm
    local out=$target/guidellm.json route stream
    for route in /v1/chat/completions /v1/completions; do
        for stream in true false; do
            rm -f "$out"
            "$target/guidellm/bin/guidellm" run \
                --backend "kind=openai_http,target=$url,request_format=$route,stream=$stream${API_KEY:+,api_key=$API_KEY}" \
                --tokenizer "kind=huggingface_auto,model=$target/tokenizer" \
                --data kind=synthetic_text,prompt_tokens=64,output_tokens=16 \
                --profile "kind=concurrent,streams=$concurrency" \
                --constraint "kind=max_requests,count=$requests" \
                --output "kind=json,path=$out" --disable-console >"$target/guidellm.log" 2>&1 ||
                { cat "$target/guidellm.log"; return 1; }
            python3 "$here/complete.py" guidellm "$out" "$requests"
        done
    done
}

for client in "$@"; do
    case $client in
    openai | curl | aiperf | guidellm) "run_$client" ;;
    *) echo "$0: $client is not one of openai, curl, aiperf and guidellm" >&2; exit 2 ;;
    esac
done
