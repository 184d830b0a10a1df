"""Writes a BERT sentence encoder of a folder as an ONNX graph, without its tokenizer.

Two forms of the same arithmetic: "plain" has attention in basic operators, as exporters write it,
and leaves fusing to ONNX Runtime; "fused" names ONNX Runtime's own operators for attention, for a
norm with its residual and for GELU with its bias. Inputs are `ids` and `mask` (texts x tokens) and
`positions` (1 x tokens); the output `embeddings` is texts x width, of length 1.
"""

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

OURS = "com.microsoft"


class Graph:
    """Nodes and weights, named as they come."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind, *inputs, outputs=1, **attributes):
        names = [f"n{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names


class Bert:
    def __init__(self, folder, fused):
        self.config = json.loads((folder / "config.json").read_text())
        self.tensors = load_file(folder / "model.safetensors")
        self.fused = fused
        self.graph = Graph()

    def tensor(self, name):
        return self.tensors[name].astype(np.float32)

    def weight(self, name):
        return self.graph.constant(self.tensor(name))

    def linear(self, x, name):
        matrix = self.graph.constant(self.tensor(f"{name}.weight").T)
        product = self.graph.add("MatMul", x, matrix)
        return self.graph.add("Add", product, self.weight(f"{name}.bias"))

    def norm(self, x, name):
        weights = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        epsilon = self.config["layer_norm_eps"]
        return self.graph.add("LayerNormalization", x, *weights, axis=-1, epsilon=epsilon)

    def add_norm(self, x, residual, name):
        if not self.fused:
            return self.norm(self.graph.add("Add", x, residual), name)
        weights = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        epsilon = self.config["layer_norm_eps"]
        return self.graph.add(
            "SkipLayerNormalization", x, residual, *weights, domain=OURS, epsilon=epsilon
        )

    def attention(self, x, mask, name):
        g, heads = self.graph, self.config["num_attention_heads"]
        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        if self.fused:
            matrix = np.concatenate([self.tensor(f"{p}.weight").T for p in parts], axis=1)
            bias = np.concatenate([self.tensor(f"{p}.bias") for p in parts])
            inputs = x, g.constant(matrix), g.constant(bias), mask
            return g.add("Attention", *inputs, domain=OURS, num_heads=heads)
        width = self.config["hidden_size"]
        split = g.constant(np.array([0, 0, heads, width // heads]))
        q, k, v = (g.add("Reshape", self.linear(x, part), split) for part in parts)
        q, v = (g.add("Transpose", t, perm=[0, 2, 1, 3]) for t in (q, v))
        k = g.add("Transpose", k, perm=[0, 2, 3, 1])
        root = g.constant(np.float32(np.sqrt(width // heads)))
        scores = g.add("Add", g.add("Div", g.add("MatMul", q, k), root), mask)
        mixed = g.add("MatMul", g.add("Softmax", scores, axis=-1), v)
        mixed = g.add("Transpose", mixed, perm=[0, 2, 1, 3])
        return g.add("Reshape", mixed, g.constant(np.array([0, 0, width])))

    def wide(self, x, name):
        g = self.graph
        if self.fused:
            product = g.add("MatMul", x, g.constant(self.tensor(f"{name}.weight").T))
            return g.add("BiasGelu", product, self.weight(f"{name}.bias"), domain=OURS)
        x = self.linear(x, name)
        erf = g.add("Erf", g.add("Div", x, g.constant(np.float32(np.sqrt(2)))))
        product = g.add("Mul", x, g.add("Add", erf, g.constant(np.float32(1))))
        return g.add("Mul", product, g.constant(np.float32(0.5)))

    def mask(self):
        g = self.graph
        if self.fused:
            return g.add("Cast", "mask", to=TensorProto.INT32)
        mask = g.add("Unsqueeze", "mask", g.constant(np.array([1, 2])))
        mask = g.add("Sub", g.constant(np.float32(1)), mask)
        return g.add("Mul", mask, g.constant(np.float32(-1e9)))

    def pooled(self, x, cls):
        """The first token's vector or the mean over tokens, of length 1."""
        g = self.graph
        if cls:
            x = g.add("Gather", x, g.constant(np.int64(0)), axis=1)
        else:
            mask = g.add("Unsqueeze", "mask", g.constant(np.array([2])))
            axis = g.constant(np.array([1]))
            total = g.add("ReduceSum", g.add("Mul", x, mask), axis, keepdims=0)
            x = g.add("Div", total, g.add("ReduceSum", mask, axis, keepdims=0))
        length = g.add("ReduceL2", x, g.constant(np.array([1])), keepdims=1)
        return g.add("Div", x, length)

    def model(self, cls):
        g = self.graph
        words = g.add("Gather", self.weight("embeddings.word_embeddings.weight"), "ids")
        places = self.tensor("embeddings.position_embeddings.weight")
        places = places + self.tensor("embeddings.token_type_embeddings.weight")[0]
        x = g.add("Add", words, g.add("Gather", g.constant(places), "positions"))
        x = self.norm(x, "embeddings.LayerNorm")
        mask = self.mask()
        for i in range(self.config["num_hidden_layers"]):
            name = f"encoder.layer.{i}"
            mixed = self.attention(x, mask, f"{name}.attention.self")
            mixed = self.linear(mixed, f"{name}.attention.output.dense")
            x = self.add_norm(mixed, x, f"{name}.attention.output.LayerNorm")
            wide = self.wide(x, f"{name}.intermediate.dense")
            x = self.add_norm(self.linear(wide, f"{name}.output.dense"), x, f"{name}.output.LayerNorm")
        g.add("Identity", self.pooled(x, cls))
        g.nodes[-1].output[0] = "embeddings"
        return g


def build(folder, fused):
    """The graph of a model's folder, as bytes."""
    folder = Path(folder)
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    g = Bert(folder, fused).model(pooling["pooling_mode_cls_token"])
    kinds = ("ids", TensorProto.INT64), ("mask", TensorProto.FLOAT)
    inputs = [helper.make_tensor_value_info(n, kind, ["texts", "tokens"]) for n, kind in kinds]
    inputs.append(helper.make_tensor_value_info("positions", TensorProto.INT64, [1, "tokens"]))
    output = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["texts", "width"])
    graph = helper.make_graph(g.nodes, "encoder", inputs, [output], g.constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(OURS, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return model.SerializeToString()
