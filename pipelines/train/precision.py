"""What `train.precision: auto` means: bf16 where it is fast on all workers, and the same to the end of a run."""

import torch

from pipelines.config.run import RunConfig
from pipelines.storage import outbox
from pipelines.train.worker import Worker
from ssl_core.optimize.collectives import from_first, least

PRECISIONS = ("fp32", "bf16")
CPU_TESTS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
"""Functions of torch.cpu, private: a torch that lacks one is taken for a CPU that lacks the instructions."""


def is_fast_in_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware: CUDA, and CPUs with AVX512-BF16 (AMD from Zen 4 on, some Intel)
    or AMX. What that brings, `python -m tests.benchmarks precision` measures.
    """
    if device.type == "cuda":
        return True
    return any(getattr(torch.cpu, name)() for name in CPU_TESTS if hasattr(torch.cpu, name))


def settled(config: RunConfig, worker: Worker) -> RunConfig:
    """The config with `auto` replaced by one precision for all workers; a collective.

    A run goes on in the precision of its checkpoint: on which nodes a restart finds itself must not show in what it
    learns. At its start the slowest worker decides.

    Raises:
        UserError: the checkpoint cannot be read, and that stays so.
    """
    if config.train.precision != "auto":
        return config
    fastest = PRECISIONS[least(int(is_fast_in_bf16(worker.device)), worker.device)]
    begun = worker.precision_so_far() if worker.rank == 0 else None
    code = PRECISIONS.index(begun if begun in PRECISIONS else fastest)
    precision = PRECISIONS[from_first(code, worker.device)]
    if worker.rank == 0 and precision != fastest:
        outbox.note(
            worker.folder,
            f"train.precision: {precision}, in which this run began; {fastest} would be faster here: a run with "
            f"train.precision={fastest} starts from the beginning",
        )
    return config.model_copy(update={"train": config.train.model_copy(update={"precision": precision})})
