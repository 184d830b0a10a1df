#!/usr/bin/env bash
# Drives a running server with curl: curl.sh URL, without /v1. API_KEY is sent where it is set.
set -euo pipefail

url=${1:?usage: curl.sh URL}
json="Content-Type: application/json"
auth=${API_KEY:+Authorization: Bearer $API_KEY}

# Sends a body to a path of the API; more options of curl may follow.
ask() {
    local path=$1 body=$2
    shift 2
    curl -sS ${auth:+-H "$auth"} -H "$json" -d "$body" "$@" "$url/v1/$path"
}

# Fails unless the text has what is expected in it.
has() {
    case $1 in
    *"$2"*) ;;
    *) echo "curl: no $2 in: $1" >&2; exit 1 ;;
    esac
}

# Fails unless a request is refused with this status and this text.
refused() {
    local status=$1 text=$2 answer
    shift 2
    answer=$(ask "$@" -w '\n%{http_code}')
    [ "${answer##*$'\n'}" = "$status" ] || { echo "curl: not $status: $answer" >&2; exit 1; }
    has "$answer" '"error":{"message":'
    has "$answer" "$text"
}

talk='"messages":[{"role":"user","content":"Say hello."}],"max_tokens":8'
has "$(ask chat/completions "{$talk}")" '"object":"chat.completion"'
has "$(ask chat/completions "{$talk}")" '"usage":{"prompt_tokens":'
stream=$(ask chat/completions "{$talk,\"stream\":true}" -N)
has "$stream" 'data: {"id":"chatcmpl-'
has "$stream" 'data: [DONE]'
has "$(ask completions '{"prompt":"Once","max_tokens":4}')" '"object":"text_completion"'
has "$(ask completions '{"prompt":"Once","max_tokens":4,"stream":true}' -N)" 'data: [DONE]'
refused 400 'not valid JSON' chat/completions '{"messages":'
refused 404 'model_not_found' chat/completions "{$talk,\"model\":\"no-such-model\"}"
refused 400 'unsupported_parameter' completions '{"prompt":"Once","n":2}'
refused 404 'unknown_url' no/such/path '{}'
has "$(curl -sS "$url/health")" '"status":"ok"'
has "$(curl -sS "$url/ready")" '"status":"ready"'
has "$(curl -sS "$url/metrics")" '# EOF'
echo "$(curl --version | sed -n '1s/ (.*//p'): chat, completions, errors and health are well"
