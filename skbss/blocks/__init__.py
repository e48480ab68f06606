"""Long recordings, block by block."""

# License: BSD-3-Clause

from skbss.blocks.block_batch import BlockBatch

__all__ = ["BlockBatch"]
