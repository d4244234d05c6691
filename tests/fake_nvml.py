"""A driver library with GPUs of any size, compiled for a test: what `rl.nvml` opens in place of the real one. The UUID of GPU
i is `GPU-ai-93`."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = """
#include <stdio.h>
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory;
static memory gpus[] = {%s};
static unsigned count = sizeof(gpus) / sizeof(memory);
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = count; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **handle) { *handle = gpus + i; return i < count ? 0 : 2; }
int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) { snprintf(text, size, "GPU-a%%ld-93", (memory *)handle - gpus); return 0; }
int nvmlDeviceGetHandleByUUID(const char *name, void **handle) {
    for (unsigned i = 0; i < count; i++) {
        char text[96];
        nvmlDeviceGetUUID(*handle = gpus + i, text, 96);
        if (!strcmp(name, text)) return 0;
    }
    return 6;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory *out) { *out = *(memory *)handle; return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { strncpy(text, "%s", size); return 0; }
"""


def build_driver(file: Path, sizes: list[tuple[int, int]], version: str = "580.95.05") -> str:
    """Compile a driver of GPUs with (total, free) bytes; return its path."""
    rows = ", ".join(f"{{{total}ull, {free}ull, {total - free}ull}}" for total, free in sizes)
    source = file.with_suffix(".c")
    source.write_text(SOURCE % (rows or "{0}", version))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", file, source], check=True)
    return str(file)
