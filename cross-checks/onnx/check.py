"""Times ONNX Runtime and Elis on the same weights and the same tokens, in turns, one thread each.

A cell is a length and a batch; a round gives every way so much CPU time in rotating order. The
figures are medians over rounds of texts per second of the process's CPU time, because the machine
is shared; ratios are medians of the ratios within rounds.
"""

import argparse
import collections
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

import graph

ROOT = Path(__file__).resolve().parents[2]
MIXED = "mixed"


class Onnx:
    """ONNX Runtime on one thread."""

    def __init__(self, folder, fused):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            options.optimized_model_filepath = file.name
            model = graph.build(folder, fused)
            providers = ["CPUExecutionProvider"]
            self.session = ort.InferenceSession(model, options, providers=providers)
            kinds = (node.op_type for node in onnx.load(file.name).graph.node)
            self.kinds = collections.Counter(kinds)

    def run(self, texts, seconds):
        longest = max(map(len, texts))
        ids = np.zeros((len(texts), longest), np.int64)
        mask = np.zeros(ids.shape, np.float32)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        feed = {"ids": ids, "mask": mask, "positions": np.arange(longest)[None]}
        cpu, wall, times = time.process_time(), time.perf_counter(), 0
        while True:
            rows = self.session.run(None, feed)[0]
            times += 1
            spent = time.process_time() - cpu
            if spent >= seconds:
                return rows, times, spent, time.perf_counter() - wall


class Elis:
    """Our encoder, or candle's through it, in a process of its own."""

    def __init__(self, folder, way):
        binary = ROOT / "target" / "release" / "examples" / "encode_speed"
        environment = {**os.environ, "RAYON_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        command = [binary, str(folder), way]
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment
        )

    def run(self, texts, seconds, show=False):
        question = {"ids": texts, "seconds": seconds, "show": show}
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        rows = np.array(answer["rows"], np.float32)
        return rows, answer["times"], answer["cpu_s"], answer["wall_s"]


def texts_of(length, batch, random, vocabulary):
    """Random tokens between those that BERT puts around a text."""
    if length == MIXED:
        lengths = random.integers(8, 257, batch)
    else:
        lengths = [length] * batch
    return [[101, *random.integers(999, vocabulary, n - 2).tolist(), 102] for n in lengths]


def cell(ways, texts, rounds, seconds):
    """For each way, the rates of each round, by CPU time and by wall time."""
    rates = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            _, times, cpu, wall = ways[name].run(texts, seconds)
            rates[name].append((times * len(texts) / cpu, times * len(texts) / wall))
    return rates


def cosines(ways, texts):
    """For each way, the smallest cosine to ONNX Runtime's plain graph."""
    truth = ways["ort plain"].run(texts, 0)[0]
    ours = {name: way.run(texts, 0, show=True)[0] for name, way in ways.items() if "ort" not in name}
    return {name: float((rows * truth).sum(axis=1).min()) for name, rows in ours.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "models" / "all-minilm-l6-v2")
    parser.add_argument("--lengths", default="32,128,256,512,mixed")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3)
    args = parser.parse_args()
    config = json.loads((args.folder / "config.json").read_text())
    random = np.random.default_rng(1)
    ways = {"ort plain": Onnx(args.folder, False), "ort fused": Onnx(args.folder, True)}
    for name in ("f32", "q8", "candle"):
        ways[name] = Elis(args.folder, name)
    for name in ("ort plain", "ort fused"):
        print(f"{name}: {dict(ways[name].kinds.most_common())}")
    print("\ntexts per CPU second (per wall second); ratios to the faster ONNX Runtime\n")
    print("| tokens | texts | ORT plain | ORT fused | ours f32 | | ours q8 | | candle f32 | |"
          " cos f32 | cos q8 |")
    print("|--" * 12 + "|")
    for length in args.lengths.split(","):
        length = length if length == MIXED else int(length)
        for batch in map(int, args.batches.split(",")):
            if length == MIXED and batch == 1:
                continue
            texts = texts_of(length, batch, random, config["vocab_size"])
            near = cosines(ways, texts)
            rates = cell(ways, texts, args.rounds, args.seconds)
            row = [str(length), str(batch)]
            for name in ways:
                cpu, wall = (statistics.median(column) for column in zip(*rates[name]))
                row.append(f"{cpu:.1f} ({wall:.1f})")
                if "ort" in name:
                    continue
                best = [max(a[0], b[0]) for a, b in zip(rates["ort plain"], rates["ort fused"])]
                ratios = (own[0] / other for own, other in zip(rates[name], best))
                row.append(f"{statistics.median(ratios):.2f}")
            row += [f"{near[name]:.6f}" for name in ("f32", "q8")]
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
