"""The floor: bare ONNX Runtime with constant weights, doing the forward passes of a plane.

    python floor.py MODEL.onnx DATA.npz SAMPLES PASSES

Tries batch sizes, and one session a core against one session with all cores; prints the best
samples per second. Data is preprocessed beforehand and only the runs are timed.
"""

import sys
import threading
import time

import numpy as np
import onnxruntime as ort

model, data, samples, passes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
x = np.load(data)["x"][:samples]
x = ((x / 255 - 0.1307) / 0.3081).astype(np.float32)


def session(threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def work(session, batches, count):
    for _ in range(count):
        for batch in batches:
            session.run(None, {"x": batch})


def measure(workers, threads, batch):
    batches = [x[i : i + batch] for i in range(0, len(x), batch)]
    sessions = [session(threads) for _ in range(workers)]
    for s in sessions:
        work(s, batches[:4], 1)
    share = passes // workers
    pool = [threading.Thread(target=work, args=(s, batches, share)) for s in sessions]
    start = time.perf_counter()
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    return share * workers * len(x) / (time.perf_counter() - start)


best = max(
    (measure(workers, threads, batch), workers, threads, batch)
    for workers, threads in ((2, 1), (1, 2))
    for batch in (16, 32, 64, 128)
)
print(f"{best[0]:.0f} {best[1]} {best[2]} {best[3]}")
