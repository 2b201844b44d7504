"""What the fork server (fmri2img.fork_server) imports before it is forked: the libraries that take longest.

The list decides nothing but time: a job finds what it imports here, or imports it then. It names modules, as
transformers and diffusers import most of theirs when they are first used.
"""

import atexit
import gc
import importlib
import os

from fmri2img.job_environment import ONE_THREAD

MODULES = (
    "diffusers.loaders.single_file_utils",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.autoencoders.vq_model",
    "diffusers.models.transformers.dual_transformer_2d",
    "diffusers.models.unets.unet_2d_condition",
    "fmri2img.fork_server",
    "h5py",
    "jinja2",
    "matplotlib.pyplot",
    "nibabel",
    "pandas",
    "pyarrow.parquet",
    "safetensors.torch",
    "scipy.stats",
    "sklearn.model_selection",
    "snakemake.cli",
    "torch",
    "torchvision.models.feature_extraction",
    "torchvision.transforms.v2",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "transformers.models.git.modeling_git",
)

# Libraries read these when they are imported. A process with threads is not safe to fork: Arrow's allocator starts one.
os.environ |= ONE_THREAD | {"HF_HUB_OFFLINE": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
gc.disable()
for module in MODULES:
    importlib.import_module(module)
gc.enable()
gc.freeze()  # without this, each fork's garbage collector would copy all of it

SERVER = os.getpid()


@atexit.register
def leave() -> None:
    """End the server at once. At an interpreter's normal end, triton lists what it leaks on the terminal."""
    if os.getpid() == SERVER:
        os._exit(0)
