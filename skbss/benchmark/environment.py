"""What numbers and times may depend on besides the experiment."""

# License: BSD-3-Clause

import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from joblib import cpu_count
from threadpoolctl import threadpool_info

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
    return {
        "python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
        "blas": sorted(
            f"{info['internal_api']} {info['version']}"
            for info in threadpool_info()
            if info["user_api"] == "blas"
        ),
        "machine": platform.platform(),
        "processor": _processor(),
        "processors": cpu_count(),
        "byte_order": sys.byteorder,
        "simd": np.show_config(mode="dicts")
        .get("SIMD Extensions", {})
        .get("found", []),
        "threads": threads,
        "started": now(),
    }


def versions(environment: dict) -> dict:
    """Return the part that numbers may depend on."""
    return {k: environment.get(k) for k in ("python", *PACKAGES) if k in environment}


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
