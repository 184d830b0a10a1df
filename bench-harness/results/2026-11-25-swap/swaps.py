"""Iteration gaps with and without swaps, in turns on one server: python3 swaps.py ELIS SWAPS TURNS.

With a model behind these (a folder), on that: each response is compared with that of the same request alone.
"""

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request

CLIENTS, TURN_S = 48, 4.0
TEXT = "This is a modelled worker: it takes the time of a model and says nothing new. "


def call(method, url, body=None, kind="application/json"):
    request = urllib.request.Request(url, body, {"content-type": kind}, method=method)
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def modelled(number):
    """A request of the modelled worker, and what it says."""
    tokens = 1 + number * 37 % 150
    prompt = [number % 200] * (1 + number % 90)
    body = {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "oracle_tokens": tokens}
    return body, (TEXT * 3)[:tokens]


SUBJECTS = ["rain", "a fox", "the sea", "Paris", "bread", "winter", "a clock", "music"]


def real(number):
    """One of 24 greedy requests to a model."""
    number %= 24
    prompt = f"Write {1 + number // 8} sentences about {SUBJECTS[number % 8]}:"
    return {"prompt": prompt, "max_tokens": 4 + number * 7 % 40, "temperature": 0.0, "ignore_eos": True}


class Load:
    def __init__(self, port, request):
        self.port, self.request, self.over, self.phase = port, request, False, "warm-up"
        self.gaps, self.done, self.next = {}, 0, 0

    async def client(self):
        while not self.over:
            number, self.next = self.next, self.next + 1
            body, expected = self.request(number)
            said = await self.stream(body)
            assert said == expected, (number, body, said, expected)
            self.done += 1

    async def stream(self, body):
        body = json.dumps(body | {"stream": True}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
        head += "content-type: application/json\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        said, ended, last = "", 0, None
        while line := await reader.readline():
            if not line.startswith(b"data: {"):
                ended += line.startswith(b"data: [DONE]")
                continue
            choice = json.loads(line[6:])["choices"][0]
            now = time.perf_counter()
            if choice["text"]:
                if last is not None:
                    self.gaps.setdefault(self.phase, []).append(now - last)
                said, last = said + choice["text"], now
        writer.close()
        assert ended == 1, (body, said, ended)
        return said


def pauses(url):
    """Counts by upper bound of the time between two steps of the worker."""
    text = call("GET", f"{url}/metrics").decode()
    lines = re.findall(r'elis_worker_pause_seconds_bucket\{le="([^"]+)"\} (\d+)', text)
    return {float(le): int(count) for le, count in lines}, text


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def bucket_quantile(before, after, q):
    counts = [(le, after[le] - before[le]) for le in sorted(after)]
    return next(le for le, count in counts if count >= q * counts[-1][1])


def start(elis, options):
    """A server, its address and that of its admin API."""
    serve = [elis, "serve", "--port", "0", "--admin-port", "0", *options]
    server = subprocess.Popen(serve, stderr=subprocess.PIPE, text=True)
    found = {}
    for line in server.stderr:
        for name, mark in [("url", "listening on "), ("admin", "admin API on ")]:
            if mark in line:
                found[name] = line.split(mark)[1].strip()
        if len(found) == 2:
            break
    asyncio.get_running_loop().run_in_executor(None, lambda: [None for _ in server.stderr])
    return server, found["url"], found["admin"] + "/admin"


async def main(elis, swaps, turns, model=None):
    paced = ["--worker", "sim:llama2-13b-a100", "--speed", "5", "--predictor", "oracle"]
    on_model = ["--model", model, "--window-tokens", "5", "--predictor", "noisy:20"]
    server, url, admin = start(elis, on_model if model else paced)
    names = {}
    for name in ["fcfs", "sjf", "isrtf"]:
        answer = json.loads(call("POST", f"{admin}/policy", json.dumps({"policy": name}).encode()))
        names[name] = answer["policies"]["live"]["digest"]
    load = Load(int(url.rsplit(":", 1)[1]), modelled)
    if model:
        alone = [await load.stream(real(number)) for number in range(24)]
        load.request = lambda number: (real(number), alone[number % 24])
        load.gaps.clear()
    clients = [asyncio.create_task(load.client()) for _ in range(12 if model else CLIENTS)]
    await asyncio.sleep(2)
    each, decided, done, steps = swaps // turns, 0, 0, {"still": [], "swaps": []}
    promotes = list(names.values())

    def swap(number):
        path = f"{admin}/policies/{promotes[number % 3]}/promote"
        return json.loads(call("POST", path, b"{}"))["decided"]

    for turn in range(turns):
        for phase in ["still", "swaps"] if turn % 2 == 0 else ["swaps", "still"]:
            load.phase = phase
            before, _ = await asyncio.to_thread(pauses, url)
            end = time.perf_counter() + TURN_S
            if phase == "swaps":
                for _ in range(each):
                    decided += await asyncio.to_thread(swap, done)
                    done += 1
            await asyncio.sleep(max(0, end - time.perf_counter()))
            after, _ = await asyncio.to_thread(pauses, url)
            steps[phase].append((before, after))
    load.over = True
    await asyncio.gather(*clients)
    _, text = await asyncio.to_thread(pauses, url)

    def metric(name):
        return sum(float(l.rsplit(" ", 1)[1]) for l in text.splitlines() if l.startswith(name))

    server.terminate()
    for phase in ["still", "swaps"]:
        gaps = load.gaps[phase]
        total = lambda side: {le: sum(turn[side][le] for turn in steps[phase]) for le in steps[phase][0][0]}
        row = {f"p{q}": quantile(gaps, q / 100) * 1e3 for q in (50, 99, 99.9)}
        row = " ".join(f"{name} {ms:.2f} ms" for name, ms in row.items())
        p99 = bucket_quantile(total(0), total(1), 0.99) * 1e6
        print(f"{phase}: {len(gaps)} gaps between tokens, {row}; p99 between steps <= {p99:.0f} us")
    print(f"{done} swaps, {decided} told after a decision; {load.done} requests completed, each once")
    print("finished", metric('elis_requests_total{outcome="finished"}'), "all", metric("elis_requests_total"),
          "fallbacks", metric("elis_fallbacks_total"), "swaps", metric("elis_policy_swaps_total"),
          "mean install us", 1e6 * metric("elis_policy_swap_duration_seconds_sum")
          / metric("elis_policy_swap_duration_seconds_count"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
