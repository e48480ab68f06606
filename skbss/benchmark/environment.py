"""What numbers and times may depend on besides the experiment."""

# License: BSD-3-Clause

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import numpy as np
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


def now():
    """Return the time, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe_environment(threads):
    """Return versions and machine, as ``environment.json`` has them.

    Parameters
    ----------
    threads : int
        Threads of linear algebra a process.

    Returns
    -------
    environment : dict
        Of strings, numbers and lists.
    """
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
        "processors": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "byte_order": sys.byteorder,
        "simd": _simd(),
        "threads": threads,
        "started": now(),
    }


def versions(environment):
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


def _simd():
    extensions = np.show_config(mode="dicts").get("SIMD Extensions", {})
    return extensions.get("found", [])
