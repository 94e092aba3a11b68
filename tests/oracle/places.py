"""A text classifier that reads each sample's last token by its place in the batch, and PyTorch's slopes of its soups.

    python tests/oracle/places.py [FOLDER]     # default: the folder `places` beside this file

`h[arange(batch), last]` is how GPT-2, Llama, Qwen and BART classifiers and CLIP's text tower read a sample. The
embedding is frozen, so that the index (arange, last), which depends on a sample's place in the batch, is computed from
what no fine-tune moves. Three exports: `noopt` (the current exporter), `ts` (TorchScript), both with any batch size,
and `fixed` with a batch size of 7 (no other axis is as long, and 40 samples are no multiple of it).

expected.json, in float64: the loss of the uniform soup on all samples, and its gradient in α, where the weights are
Σ_i softmax(α)_i·ft_i and α = 0: `alpha` with one α for all tensors, `by_tensor` with one for each, in the order of
`tensors`. `stale` is the loss where each sample in reversed order is read with the index of its place in the original
order: what a value that is kept by sample gives, and far from the right one.
"""
import contextlib
import copy
import io
import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from make_oracle import scrub

WORDS, TOKENS, SAMPLES, CLASSES, FIXED = 12, 6, 40, 3, 7
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 4)
        self.mix = nn.Linear(4, 6)
        self.out = nn.Linear(6, CLASSES)

    def index(self, mask):
        return torch.arange(mask.shape[0]), mask.sum(1) - 1

    def forward(self, ids, mask, index=None):
        h = torch.tanh(self.mix(torch.cumsum(self.emb(ids), 1)))
        return self.out(h[self.index(mask) if index is None else index])


def data(samples):
    ids = torch.randint(1, WORDS, (samples, TOKENS))
    mask = (torch.arange(TOKENS) < torch.randint(2, TOKENS + 1, (samples, 1))).long()
    return ids * mask, mask


def train(net, votes, steps, seed):
    torch.manual_seed(seed)
    parameters = [p for name, p in net.named_parameters() if seed == 1 or not name.startswith("emb")]
    optimizer = torch.optim.Adam(parameters, 0.01)
    for _ in range(steps):
        ids, mask = data(64)
        loss = F.cross_entropy(net(ids, mask), label(votes, ids, mask))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def label(votes, ids, mask):
    return (votes[ids] * mask[..., None]).sum(1).argmax(1)


def export(net, path, how, samples):
    ids, mask = (x[:samples] for x in data(max(samples, 3)))
    names = dict(input_names=["input_ids", "attention_mask"], output_names=["logits"])
    batch = {0: torch.export.Dim("batch")}
    with contextlib.redirect_stdout(io.StringIO()):
        if how == "ts":
            axes = {name: {0: "batch"} for name in ("input_ids", "attention_mask", "logits")}
            torch.onnx.export(net, (ids, mask), path, dynamo=False, dynamic_axes=axes, **names)
        else:
            shapes = None if how == "fixed" else (batch, batch)
            torch.onnx.export(net, (ids, mask), path, dynamo=True, optimize=False, external_data=False,
                              dynamic_shapes=shapes, **names)
            scrub(path)


def expected(nets, ids, mask, labels):
    base = copy.deepcopy(nets[0]).double()
    states = [{k: v.double() for k, v in net.state_dict().items()} for net in nets]
    tensors = [k for k in states[0] if not k.startswith("emb")]

    def logits(rows, *inputs):
        theta = {k: sum(w * s[k] for w, s in zip(rows.get(k, uniform), states)) for k in states[0]}
        return torch.func.functional_call(base, theta, inputs)

    uniform = torch.full((len(nets),), 1 / len(nets), dtype=torch.float64)
    alpha = torch.zeros(len(nets), dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy(logits(dict.fromkeys(tensors, alpha.softmax(0)), ids, mask), labels)
    loss.backward()
    by_tensor = torch.zeros(len(tensors), len(nets), dtype=torch.float64, requires_grad=True)
    F.cross_entropy(logits(dict(zip(tensors, by_tensor.softmax(1))), ids, mask), labels).backward()
    with torch.no_grad():
        # Of each sample's row, the place is the old one and the last token its own.
        index = base.index(mask)
        turned = [x.flip(0) for x in (ids, mask)]
        stale = F.cross_entropy(logits({}, *turned, tuple(x.flip(0) for x in index)), labels.flip(0))
    assert abs(stale.item() - loss.item()) > 0.5, (stale, loss)
    return dict(loss=loss.item(), alpha=alpha.grad.tolist(), tensors=tensors, by_tensor=by_tensor.grad.tolist(),
                stale=stale.item())


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "places"
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    votes = torch.randn(WORDS, CLASSES)
    origin = train(Last(), votes, 200, 1)
    ids, mask = data(SAMPLES)
    labels = label(votes, ids, mask)
    nets = [train(copy.deepcopy(origin), votes, steps, seed) for seed, steps in ((2, 30), (3, 300), (4, 100))]
    for k, net in enumerate(nets, 1):
        save_file(net.state_dict(), folder / f"ft{k}.safetensors")
    np.savez(folder / "data.npz", input_ids=ids.numpy(), attention_mask=mask.numpy(), labels=labels.numpy())
    (folder / "models.csv").write_text("name,path\n" + "".join(f"ft{k},ft{k}.safetensors\n" for k in (1, 2, 3)))
    for how, samples in (("noopt", 3), ("ts", 3), ("fixed", FIXED)):
        export(origin, str(folder / f"zs_{how}.onnx"), how, samples)
    (folder / "expected.json").write_text(json.dumps(expected(nets, ids, mask, labels), indent=1) + "\n")


if __name__ == "__main__":
    main()
