"""What numbers and times may depend on besides the experiment."""

# License: BSD-3-Clause

import json
import platform
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from joblib import cpu_count
from threadpoolctl import threadpool_info

from skbss.benchmark.results import RunError

PACKAGES = (
    "skbss",
    "numpy",
    "scipy",
    "scikit-learn",
    "joblib",
    "soundfile",
    "distributed",
    "fast_bss_eval",
    "pyroomacoustics",
)


def now() -> str:
    """Return the time, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe_environment(threads: int) -> dict:
    """Return versions and machine, as ``environment.json`` has them."""
    config = np.show_config(mode="dicts")
    return {
        "python": platform.python_version(),
        **_packages(),
        "blas": sorted(
            f"{info['internal_api']} {info['version']}"
            for info in threadpool_info()
            if info["user_api"] == "blas"
        ),
        "machine": platform.platform(),
        "processor": _processor(),
        "processors": cpu_count(),
        "byte_order": sys.byteorder,
        "simd": config.get("SIMD Extensions", {}).get("found", []),
        "threads": threads,
        "started": now(),
    }


def versions(environment: dict) -> dict:
    """Return the part that numbers may depend on."""
    return {k: environment.get(k) for k in ("python", *PACKAGES) if k in environment}


def read_environment(folder: Path) -> dict:
    """Read what a run folder says of it; raise RunError if it says nothing."""
    path = folder / "environment.json"
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise RunError(f"Cannot read {path}: {error}.") from error


def _packages():
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _processor():
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
