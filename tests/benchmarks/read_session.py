"""Time and memory of reading one session of betas inside a mask, against the usual ways of doing it.

Writes one session of NSD's size (subject 1: 750 trials, 81 x 104 x 83 voxels) as HDF5 and as NIfTI, reads it in fresh
processes, and prints a table. Every way must return the same numbers. "cold" is after the file was dropped from the
page cache of this machine (a virtual machine's host may still hold it), "warm" right after that; "cpu" is processor
time of the warm run, which other work on the machine disturbs least. Needs 3 GB of disk.

    PYTHONPATH=scripts python tests/benchmarks/read_session.py
    PYTHONPATH=scripts python tests/benchmarks/read_session.py --trials 20 --dims 12 16 10 --voxels 100
"""

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import nibabel
import numpy as np
from benchmark_table import against, at_best

from fmri2img.datasets.nsd.betas import read_masked_session


def brain_and_mask(dims: tuple[int, int, int], voxels: int) -> tuple[np.ndarray, np.ndarray]:
    """A brain (an ellipsoid) and, at its back, a shell of `voxels` voxels like nsdgeneral; bool (X, Y, Z)."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in dims), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    depth = np.where(y < -0.25, np.abs(radius - 0.85), np.inf)
    mask = np.zeros(dims, bool)
    mask.ravel()[np.argsort(depth.ravel(), kind="stable")[:voxels]] = True
    return (radius < 1) | mask, mask


def write_session(folder: Path, trials: int, dims: tuple[int, int, int], voxels: int) -> None:
    """betas.hdf5 (one chunk a voxel, as MATLAB wrote it), betas.nii.gz of the same numbers, and mask.npy."""
    brain, mask = brain_and_mask(dims, voxels)
    np.save(folder / "mask.npy", mask)
    rng = np.random.default_rng(0)
    plain = nibabel.Nifti1Image(np.zeros((1, 1, 1, 1), np.int16), np.diag([1.8, 1.8, 1.8, 1]))
    plain.header.set_data_shape((*dims, trials))
    with open(folder / "betas.nii", "wb") as file:
        plain.header.write_to(file)
        file.write(bytes(int(plain.header["vox_offset"] or 352) - file.tell()))
        offset = file.tell()
        file.truncate(offset + trials * int(np.prod(dims)) * 2)
    # NIfTI stores x fastest and trials slowest: in C order that is (trials, Z, Y, X), the axes of the HDF5 file.
    twin = np.memmap(folder / "betas.nii", np.int16, "r+", offset, (trials, *dims[::-1]))
    with h5py.File(folder / "betas.hdf5", "w", libver="earliest") as file:
        betas = file.create_dataset("betas", twin.shape, "<i2", chunks=(trials, 1, 1, 1))
        for plane in range(dims[2]):
            values = rng.normal(0, 500, (trials, *dims[1::-1])).round().astype(np.int16)
            twin[:, plane] = betas[:, plane] = values * brain[:, :, plane].T
    twin.flush()
    with open(folder / "betas.nii", "rb") as source, gzip.open(folder / "betas.nii.gz", "wb", 1) as target:
        shutil.copyfileobj(source, target, 2**22)
    (folder / "betas.nii").unlink()
    os.sync()


def by_planes(path: Path, mask: np.ndarray, trials: int) -> np.ndarray:
    return read_masked_session(path, mask, trials)


def whole_hdf5(path: Path, mask: np.ndarray, trials: int) -> np.ndarray:
    with h5py.File(path) as file:
        return file["betas"][:].transpose(0, 3, 2, 1)[:, mask]


def one_trial(path: Path, mask: np.ndarray, trials: int) -> np.ndarray:
    with h5py.File(path) as file:
        return file["betas"][0].T[mask][None]


def get_fdata(path: Path, mask: np.ndarray, trials: int) -> np.ndarray:
    return nibabel.load(path).get_fdata()[mask].T


def dataobj(path: Path, mask: np.ndarray, trials: int) -> np.ndarray:
    return np.asanyarray(nibabel.load(path).dataobj)[mask].T


def sequential(path: Path, mask: np.ndarray, trials: int) -> None:
    block = bytearray(2**23)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(block):
            pass


READERS = {
    "raw sequential read of the file": (sequential, "betas.hdf5"),
    "fmri2img, by planes in the mask": (by_planes, "betas.hdf5"),
    "h5py, whole file, then mask": (whole_hdf5, "betas.hdf5"),
    "h5py, one trial": (one_trial, "betas.hdf5"),
    "nibabel dataobj of .nii.gz": (dataobj, "betas.nii.gz"),
    "nibabel get_fdata of .nii.gz": (get_fdata, "betas.nii.gz"),
}


def measure(reader: str, folder: Path, trials: int) -> dict:
    """Run in a process of its own: seconds, processor seconds, peak memory in MB, digest of what was read."""
    function, name = READERS[reader]
    mask = np.load(folder / "mask.npy")
    start, start_cpu = time.perf_counter(), time.process_time()
    values = function(folder / name, mask, trials)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    status = Path("/proc/self/status").read_text()
    peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
    weights = np.arange(1, mask.sum() + 1)
    digest = None if values is None else [int((row.astype(np.int64) * weights).sum()) for row in values]
    return {"seconds": seconds, "cpu": cpu, "peak_mb": peak_mb, "digest": digest}


def drop_from_page_cache(path: Path) -> None:
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def compare(folder: Path, trials: int) -> None:
    """Print the table. Raises SystemExit when two ways of reading give different numbers."""
    found, digest = {}, None
    for reader, (_, name) in READERS.items():
        drop_from_page_cache(folder / name)
        runs = []
        for _ in range(2):
            command = [sys.executable, __file__, "--reader", reader, "--folder", str(folder), "--trials", str(trials)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            runs.append(json.loads(output))
        peak_mb = max(run["peak_mb"] for run in runs)
        found[reader] = (runs[0]["seconds"], runs[1]["seconds"], runs[1]["cpu"], peak_mb)
        got = runs[0]["digest"]
        if got is not None:
            digest = digest or got
            if got != digest[: len(got)]:
                raise SystemExit(f"{reader}: other numbers than {list(READERS)[1]}")
    *once, peak = found["h5py, one trial"]
    found[f"h5py, {trials} trials one by one (extrapolated)"] = (*(seconds * trials for seconds in once), peak)
    own = found["fmri2img, by planes in the mask"][2]
    for name in ("betas.hdf5", "betas.nii.gz"):
        print(f"{name}: {(folder / name).stat().st_size / 1e6:.1f} MB")
    print(f"{'':48s}{'cold s':>10s}{'warm s':>10s}{'cpu s':>10s}{'x ours':>10s}{'peak MB':>10s}")
    what = f"reading the betas of {np.load(folder / 'mask.npy').sum():,} voxels in {trials} trials"
    for reader, (cold, warm, cpu, peak) in found.items():
        print(f"{reader:48s}{cold:10.2f}{warm:10.2f}{cpu:10.2f}{cpu / own:10.1f}{peak:10.0f}")
    seconds = {reader: warm for reader, (_, warm, _, _) in found.items()}
    own, raw = (
        seconds.pop(reader) for reader in ("fmri2img, by planes in the mask", "raw sequential read of the file")
    )
    del seconds["h5py, one trial"]
    at_best(what, own, raw, "raw sequential read of the file")
    for reader, warm in seconds.items():
        against(what, own, reader, warm)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=750)
    parser.add_argument("--dims", type=int, nargs=3, default=(81, 104, 83), help="X Y Z")
    parser.add_argument("--voxels", type=int, default=15_724, help="of the mask (subject 1: 15724)")
    parser.add_argument("--folder", type=Path, help="where to write the files (removed afterwards)")
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reader:
        print(json.dumps(measure(arguments.reader, arguments.folder, arguments.trials)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        write_session(Path(folder), arguments.trials, tuple(arguments.dims), arguments.voxels)
        compare(Path(folder), arguments.trials)


if __name__ == "__main__":
    main()
