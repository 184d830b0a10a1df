"""Throughput before and after faults, on one server: python3 faults.py ELIS ROGUE.wasm TURNS.

Each turn: a window, a rogue promoted that the ladder takes down, a window. The ratio of the two is held against
that of two windows with nothing between them.
"""

import asyncio
import json
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "2026-11-25-swap"))
from swaps import CLIENTS, Load, call, modelled, pauses, start

WINDOW_S, SETTLE_S = 6.0, 1.0
KINDS = [("trap", 10), ("spin", 10), ("hog", 10), ("flood", 10), ("leak", 1)]


def value(text, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


async def window(url):
    """Tokens a second."""
    begin, text = time.perf_counter(), (await asyncio.to_thread(pauses, url))[1]
    await asyncio.sleep(WINDOW_S)
    end, after = time.perf_counter(), (await asyncio.to_thread(pauses, url))[1]
    name = "elis_generated_tokens_total"
    return (value(after, name) - value(text, name)) / (end - begin)


async def main(elis, rogue, turns):
    options = ["--worker", "sim:llama2-13b-a100", "--speed", "5", "--predictor", "oracle"]
    server, url, admin = start(elis, options)
    bytes_ = pathlib.Path(rogue).read_bytes()
    pushed = json.loads(call("POST", f"{admin}/policies", bytes_, "application/wasm"))
    load = Load(int(url.rsplit(":", 1)[1]), modelled)
    clients = [asyncio.create_task(load.client()) for _ in range(CLIENTS)]
    await asyncio.sleep(3)
    ratios, nothing = {}, []
    live = lambda: json.loads(call("GET", f"{admin}/status"))["policies"]["name"]

    def fall(kind, every):
        wish = json.dumps({"config": f'kind = "{kind}"\nevery = {every}'}).encode()
        call("POST", f"{admin}/policies/{pushed['digest']}/promote", wish)
        while live() != "fcfs":
            time.sleep(0.05)

    for turn in range(turns):
        kind, every = KINDS[turn % len(KINDS)]
        before = await window(url)
        await asyncio.to_thread(fall, kind, every)
        await asyncio.sleep(SETTLE_S)
        after = await window(url)
        ratios.setdefault(kind, []).append(after / before)
        await asyncio.sleep(SETTLE_S)
        again = await window(url)
        nothing.append(again / after)
        print(f"{kind}: {before:.0f} tokens/s before, {after:.0f} after: {after / before:.3f};"
              f" with nothing between: {again / after:.3f}", flush=True)
    load.over = True
    await asyncio.gather(*clients)
    text = (await asyncio.to_thread(pauses, url))[1]
    server.terminate()
    for name, all_ in [*ratios.items(), ("all", sum(ratios.values(), [])), ("nothing", nothing)]:
        spread = statistics.stdev(all_) / len(all_) ** 0.5 if len(all_) > 1 else 0.0
        print(f"{name}: {statistics.mean(all_):.3f} +- {spread:.3f} (mean, standard error of {len(all_)})")
    print("finished", value(text, 'elis_requests_total{outcome="finished"}'), "all",
          value(text, "elis_requests_total"), "completed", load.done, "falls",
          value(text, 'elis_policy_swaps_total{kind="fall"}'), "faults",
          value(text, "elis_policy_faults_total"))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
