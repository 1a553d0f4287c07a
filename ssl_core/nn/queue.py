"""A ring of the newest vectors of earlier batches, in the order of the global batch: the same on any number of workers.

Shapes: B samples, K slots, D width.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_core.noise import keyed_normal


def random_unit_vectors(count: int, dim: int, salt: int) -> Tensor:
    """[count, dim] float32, the same everywhere: what a queue holds before the first batch."""
    return normalize(keyed_normal(torch.arange(count), dim, salt), dim=-1)


@torch.no_grad()
def enqueue_(queue: Tensor, next_slot: Tensor, vectors: Tensor) -> None:
    """Overwrite the oldest of queue [K, D] by vectors [B, D]; next_slot [] int64 says where the oldest is.

    The queue is a ring: K need not be a multiple of B, and of more than K vectors the last K stay.
    """
    newest = vectors[-len(queue) :]
    slots = (next_slot + torch.arange(len(newest), device=vectors.device)) % len(queue)
    queue[slots] = newest
    next_slot.add_(len(newest)).remainder_(len(queue))


@torch.no_grad()
def nearest(z: Tensor, queue: Tensor) -> Tensor:
    """Unit vectors z [B, D] -> for each the most similar row of unit vectors queue [K, D]: [B, D] float32."""
    with torch.autocast(z.device.type, enabled=False):  # bf16 similarities tie
        return queue[(z.float() @ queue.T).argmax(1)]
