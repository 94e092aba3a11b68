"""What `landscape plane` is held against, each in a process of its own.

    python loops.py floor|torch|inputs|peer|backward|product FOLDER SECONDS

Evaluates points of the plane of FOLDER (networks.py) for about SECONDS; prints samples a second
and the setting.

floor   bare ONNX Runtime, constant weights: the best of sessions × threads × batch sizes.
torch   the short PyTorch loop: inference mode, weights updated in place, batched.
inputs  a Python loop over onnxruntime that feeds the weights as inputs of the graph.
peer    the package loss-landscape-3d, loss and error; a rate of 0 where it cannot, with the reason.
backward, product   PyTorch's forward and backward pass, and its product of the Hessian with a vector.
"""

import contextlib
import itertools
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

how, folder, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
data = np.load(folder / "data.npz")
x, labels = data["x"], data["labels"]
cores = len(os.sched_getaffinity(0))


def batches(size):
    return [(x[i : i + size], labels[i : i + size]) for i in range(0, len(x), size)]


def session(model, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def rate(work, workers, budget):
    """Samples a second of `work(worker)`, called again and again by `workers` threads."""
    done, start = [0] * workers, time.perf_counter()

    def run(worker):
        while time.perf_counter() < start + budget:
            done[worker] += work(worker)

    pool = [threading.Thread(target=run, args=(w,)) for w in range(workers)]
    [thread.start() for thread in pool]
    [thread.join() for thread in pool]
    return sum(done) / (time.perf_counter() - start)


def floor():
    trials = []
    layouts = [(cores, 1), (1, cores)] if cores > 1 else [(1, 1)]
    for (workers, threads), size in itertools.product(layouts, (16, 32, 64, 128)):
        if size > 2 * len(x):
            continue
        sessions = [session(str(folder / "zs.onnx"), threads) for _ in range(workers)]
        turns = [itertools.cycle(batches(size)) for _ in range(workers)]

        def work(worker):
            images, _ = next(turns[worker])
            sessions[worker].run(None, {"x": images})
            return len(images)

        [work(worker) for worker in range(workers)]
        trials.append((rate(work, workers, seconds / 8), f"{workers}x{threads} batch {size}"))
    return max(trials)


def torch_batches(size):
    import torch

    return [(torch.tensor(i), torch.tensor(l)) for i, l in batches(size)]


def torch_network():
    """The module and the tensors of θ0 and the two checkpoints."""
    import torch
    from networks import NETWORKS
    from safetensors.torch import load_file

    torch.set_num_threads(cores)
    stems = ("zs", "ft1", "ft2")
    return NETWORKS[folder.name][0]().eval(), *(load_file(folder / f"{stem}.safetensors") for stem in stems)


def by_torch():
    import torch
    import torch.nn.functional as F

    net, zs, a, b = torch_network()
    best = None
    for size in (32, 128, 512):
        loader = torch_batches(size)
        points, done, start = itertools.product(np.linspace(-0.5, 1.5, 21), repeat=2), 0, time.perf_counter()
        with torch.inference_mode():
            for p, q in points:
                for name, tensor in net.state_dict().items():
                    if name in zs:
                        tensor.copy_(zs[name] + p * (a[name] - zs[name]) + q * (b[name] - zs[name]))
                loss = wrong = 0.0
                for images, answers in loader:
                    logits = net(images)
                    loss += F.cross_entropy(logits, answers, reduction="sum").item()
                    wrong += (logits.argmax(1) != answers).sum().item()
                    done += len(images)
                    if time.perf_counter() > start + seconds / 3:
                        break
                if time.perf_counter() > start + seconds / 3:
                    break
        best = max(best or (0,), (done / (time.perf_counter() - start), f"{cores} threads batch {size}"))
    return best


def by_autograd(twice):
    """Samples a second of gradients in all parameters, or of products with the Hessian."""
    import torch
    import torch.nn.functional as F

    net, zs, _, _ = torch_network()
    net.load_state_dict(zs, strict=False)
    parameters = list(net.parameters())
    v = [torch.randn_like(p) for p in parameters]
    best = None
    for size in (16, 64, 256):
        done, start = 0, time.perf_counter()
        for images, answers in itertools.cycle(torch_batches(size)):
            loss = F.cross_entropy(net(images), answers)
            gradient = torch.autograd.grad(loss, parameters, create_graph=twice)
            if twice:
                along = sum((g * u).sum() for g, u in zip(gradient, v))
                try:
                    torch.autograd.grad(along, parameters, allow_unused=True)
                except RuntimeError as error:
                    return 0.0, str(error).splitlines()[0]
            done += len(images)
            if time.perf_counter() > start + seconds / 3:
                break
        best = max(best or (0,), (done / (time.perf_counter() - start), f"{cores} threads batch {size}"))
    return best


def inputs():
    import onnx
    from safetensors.numpy import load_file

    model = onnx.load(folder / "zs.onnx")
    zs, a, b = (load_file(folder / f"{stem}.safetensors") for stem in ("zs", "ft1", "ft2"))
    kept = [i for i in model.graph.initializer if i.name not in zs]
    for i in model.graph.initializer:
        if i.name in zs:
            model.graph.input.append(onnx.helper.make_tensor_value_info(i.name, i.data_type, i.dims))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    used = {name for node in model.graph.node for name in node.input}
    best = (0.0, "")
    for size in (32, 128):
        s = session(model.SerializeToString(), cores)
        done, start = 0, time.perf_counter()
        for p, q in itertools.product(np.linspace(-0.5, 1.5, 21), repeat=2):
            weights = {n: zs[n] + np.float32(p) * (a[n] - zs[n]) + np.float32(q) * (b[n] - zs[n]) for n in zs if n in used}
            for images, answers in batches(size):
                logits = s.run(None, {"x": images, **weights})[0]
                shifted = logits - logits.max(1, keepdims=True)
                (np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(answers)), answers]).sum()
                (logits.argmax(1) != answers).sum()
                done += len(images)
                if time.perf_counter() > start + seconds / 2:
                    break
            if time.perf_counter() > start + seconds / 2:
                break
        best = max(best, (done / (time.perf_counter() - start), f"{cores} threads batch {size}"))
    return best


class Over(Exception):
    """The time is up."""


class Timed:
    """A loader that counts what is drawn from it and stops its reader when the time is up."""

    def __init__(self, loader, budget):
        self.loader, self.done, self.start = loader, 0, time.perf_counter()
        self.end = self.start + budget

    def __iter__(self):
        for batch in self.loader:
            yield batch
            self.done += len(batch[0])
            if time.perf_counter() > self.end:
                raise Over


def peer():
    try:
        import torch
        import torch.nn.functional as F
        from loss_landscape_3d import LossLandscapeCalculator
    except ImportError as error:
        return 0.0, str(error)

    net, zs, a, b = torch_network()
    # Its state must be complete, counters of batch norm included.
    net.load_state_dict(zs, strict=False)
    center = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    to_a, to_b = ({name: end[name] - zs[name] for name in zs} for end in (a, b))

    def wrong(logits, answers):
        return (logits.argmax(1) != answers).float().mean().item()

    best, grid = (0.0, ""), np.linspace(-0.5, 1.5, 21)
    for size in (32, 128, 512):
        # Batches ready in a list: a DataLoader would collate them anew at each point. The package
        # asks for no_grad only; inference mode is what the loop above has, too.
        loader = Timed(torch_batches(size), seconds / 3)
        with contextlib.suppress(Over), torch.inference_mode():
            try:
                calculator = LossLandscapeCalculator(net, loader, F.cross_entropy)
                calculator.calculate(grid, grid, to_a, to_b, center, metric_fn=wrong)
            except RuntimeError as error:
                return 0.0, str(error).splitlines()[0]
        took = time.perf_counter() - loader.start
        best = max(best, (loader.done / took, f"{cores} threads batch {size}"))
    return best


ways = {"floor": floor, "torch": by_torch, "inputs": inputs, "peer": peer}
ways |= {"backward": lambda: by_autograd(False), "product": lambda: by_autograd(True)}
best, setting = ways[how]()
print(best, setting, sep="\t")
