"""Peak memory of the jobs of class `light`, at the size of the paper's study; run with PYTHONPATH=scripts.

Files of that size hold zeros and take no room on the disk: 73,000 pictures of 425 pixels, their 256 tokens of width
1664, a subject's 30,000 trials of 15,724 voxels, and decoded tokens, retrieval vectors and pictures (768 pixels) of
1,000 test images. Each job is the rule's own script in a process of its own. The time of a neighbour search grows with
the training images, and its memory does not, so two sessions are searched. A job writes up to 3 GB, which are deleted
after it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from benchmark_table import Row, report

from fmri2img.artifacts.cells import ALL
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import Split, hash_ids
from fmri2img.artifacts.tables import write_json
from fmri2img.methods.registry import read_methods
from fmri2img.paths import REPOSITORY, SCRIPTS

IMAGES, SIDE, TOKENS, WIDTH = 73_000, 425, 256, 1664
TEST, DRAWN, SESSIONS, TRIALS, VOXELS = 1_000, 768, 40, 750, 15_724
CELL = {"subject": "subj01", "sessions": "2", "seed": "0", "test_set": "shared1000"}


def zeros(path: Path, dtype: type, *shape: int) -> None:
    """A file of zeros without disk space."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.lib.format.open_memmap(path, "w+", dtype, shape)


def make(folder: Path) -> None:
    """Everything that the jobs read."""
    ids = np.arange(IMAGES)
    test = ids[:TEST]
    split = Split("shared1000", "benchmark", {"shared1000": test.tolist()})
    content = {"name": split.name, "description": split.description, "max_sessions": None, "unused_ids": []}
    content |= {"test_sets": [{"name": "shared1000", "image_ids": test.tolist()}], "sha256": hash_ids(test)}
    write_json(folder / "split.json", content)
    zeros(folder / "stimuli/images.npy", np.uint8, IMAGES, SIDE, SIDE, 3)
    table = pd.DataFrame({"image_id": ids, "name": "x", "source": "x", "cluster": None})
    table["captions"] = table["categories"] = [["a"]] * IMAGES
    table.to_parquet(folder / "stimuli/stimuli.parquet")
    write_json(folder / "stimuli/metadata.json", {})
    zeros(folder / "embeddings/tokens.npy", np.float16, IMAGES, TOKENS, WIDTH)
    np.save(folder / "embeddings/ids.npy", ids)
    write_json(folder / "embeddings/metadata.json", {"encoder": "e", "revision": "r", "trained_on": "t"})
    pd.DataFrame({"image_id": test, "caption": "a"}).to_parquet(folder / "captioned.parquet")
    # Every test image three times; the other trials show an image each.
    shown = np.concatenate([np.repeat(test, 3), TEST + np.arange(SESSIONS * TRIALS - 3 * TEST)])
    trials = pd.DataFrame({"trial": range(len(shown)), "run": 1, "image_id": np.roll(shown, len(shown) // 2)})
    trials["session"] = 1 + np.arange(len(shown)) // TRIALS
    trials["repeat"] = trials.groupby("image_id").cumcount()
    trials["part"] = np.where(trials["image_id"] < TEST, "shared1000", "train")
    voxels = pd.DataFrame({"x": range(VOXELS), "y": 0, "z": 0, "ncsnr": 1.0})
    with Recording.writer(folder / "recording") as writer:
        writer.betas(len(trials), VOXELS)
        writer.finish(trials, voxels, {"subject": "subj01", "split": "shared1000", "test_sets": ["shared1000"]})
    identity = {"method": "m", "subject": "subj01", "sessions": 2, "seed": 0, "split": "shared1000"}
    identity |= {"split_sha256": "0", "test_set": "shared1000", "disclosure": Disclosure(encoder="e").record()}
    zeros(folder / "decoded/tokens.npy", np.float16, TEST, TOKENS, WIDTH)
    zeros(folder / "decoded/retrieval.npy", np.float16, TEST, TOKENS * WIDTH)
    np.save(folder / "decoded/ids.npy", test)
    write_json(folder / "decoded/metadata.json", identity | {"arrays": ["tokens", "retrieval"]})
    for name, rows in (
        ("prediction", slice(None)),
        ("blurry", slice(None)),
        ("half0", slice(500)),
        ("half1", slice(500, None)),
    ):
        chosen = test[rows]
        zeros(folder / name / "images.npy", np.uint8, len(chosen), DRAWN, DRAWN, 3)
        if name != "blurry":
            zeros(folder / name / "retrieval.npy", np.float16, len(chosen), TOKENS * WIDTH)
            pd.DataFrame({"image_id": chosen, "caption": "a"}).to_parquet(folder / name / "captions.parquet")
        np.save(folder / name / "ids.npy", chosen)
        write_json(folder / name / "metadata.json", identity)


def jobs(folder: Path) -> dict[str, tuple[str, dict]]:
    """Name -> script and record of the job, as `job.write_job` writes them."""
    paths = {
        name: str(folder / name) for name in ("recording", "embeddings", "stimuli", "prediction", "decoded", "blurry")
    }
    paths |= {"captioned": str(folder / "captioned.parquet"), "split": str(folder / "split.json")}

    def record(inputs: dict[str, str] | list[str], params: dict, wildcards: dict) -> dict:
        named = inputs if isinstance(inputs, dict) else {}
        found = {"input": {"values": list(inputs.values()) if named else inputs, "names": named}}
        found |= {"output": {"values": [str(folder / "out")], "names": {}}, "log": {"values": [], "names": {}}}
        found |= {key: {"values": [], "names": value} for key, value in (("params", params), ("wildcards", wildcards))}
        return found | {"resources": {"values": [], "names": {}}, "threads": 1, "rule": "benchmark", "config": {}}

    entries, found = read_methods(), {}
    chosen = {entry["made_by"]["function"]: name for name, entry in reversed(entries.items()) if "made_by" in entry}
    for function, name in sorted(chosen.items(), key=lambda item: item[1]):
        entry = entries[name]["made_by"]
        inputs = {"split": paths["split"]} | {need: paths[need] for need in entry["needs"]}
        if entry["of"]:
            inputs["source"] = paths["prediction" if entry["of"] == "predictions" else "decoded"]
        cell = CELL | {
            axis: ALL for axis in ("subject", "sessions", "seed") if axis not in entries[name]["varies_with"]
        }
        params = {"method": name, "function": function, "of": entry["of"], "makes": entry["makes"]}
        params |= {"origin": "control", "settings": {}, "captioner": "c"}
        found[function.partition(":")[2]] = ("make.py", record(inputs, params, cell))
    drawing = {"arrays": {}, "networks": {}, "origin": "control", "shard": [0, 1], "samples": 1}
    retrieval = {"function": "fmri2img.generation.drawing:keep_retrieval", "settings": {}, "outputs": ["retrieval"]}
    blend = {"function": "fmri2img.generation.blend:draw", "settings": {"refined_weight": 0.75}, "outputs": ["images"]}
    stages = {"refined": paths["prediction"], "blurry": paths["blurry"]}
    cell = CELL | {"method": "m"}
    found["retrieval only"] = ("draw.py", record({"decoded": paths["decoded"]}, drawing | retrieval, cell))
    found["blend"] = ("draw.py", record(stages, drawing | blend, cell))
    halves = [str(folder / "half0"), str(folder / "half1")]
    found["join_predictions"] = ("join_predictions.py", record(halves, {}, cell))
    both = {"recording": paths["recording"], "embeddings": paths["embeddings"]}
    found["measure_similarity"] = ("measure_similarity.py", record(both, {}, CELL))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="the jobs whose names contain this")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make(folder)
        peaks = {}
        print(f"{'job':28}{'seconds':>8}{'peak MB':>9}")
        for name, (script, record) in jobs(folder).items():
            if arguments.only and arguments.only not in name:
                continue
            (folder / "job.json").write_text(json.dumps(record))
            environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
            began = time.perf_counter()
            command = [sys.executable, str(SCRIPTS / script), str(folder / "job.json")]
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=REPOSITORY, env=environment
            )
            printed = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                sys.exit(f"{name}: {printed.decode()[-2000:]}")
            print(f"{name:28}{time.perf_counter() - began:8.1f}{usage.ru_maxrss / 1024:9.0f}", flush=True)
            peaks[name] = usage.ru_maxrss / 1024
            for path in folder.glob("*out*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        name = max(peaks, key=peaks.__getitem__)
        what = f"memory of the largest of {len(peaks)} light jobs at NSD's size"
        report(Row(what, f"{peaks[name]:.0f} MB", name, "", ""))


if __name__ == "__main__":
    main()
