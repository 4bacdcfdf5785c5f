"""Read and encode while training: deterministic, and disjoint over ranks and data workers."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from swift.core.config.schema import DataConfig
from swift.core.data.mix import counted, mixed
from swift.core.data.packing import pack_samples
from swift.core.data.source import Source
from swift.core.data.sources import SourceReport, conversations
from swift.core.errors import DataError
from swift.core.protocols import Template
from swift.core.types import Conversation, Encoded

CHUNK = 256
"""Rows encoded together."""

SHUFFLE_BUFFER = 4096
PACK_BUFFER = 1024
"""Samples that packs are made of at a time."""


class EncodedStream(IterableDataset[Any]):
    """Samples (or packs) of sources, again from their start when they end.

    Every reader (rank x worker) reads all rows and keeps each n-th, so that no file needs to be split.

    Args:
        sources: joined, or mixed by data.weights and data.stopping_strategy; of a source with a count the
            first so many rows.
        template: encodes the rows.
        seed: of mixing and of the shuffle buffer.
        packs: yield lists of samples of at most data.max_length tokens together.

    Raises:
        DataError: while iterating: a row that cannot be used (on_error="raise"), or no usable row.
    """

    def __init__(
        self, sources: Sequence[Source], data: DataConfig, template: Template, *, seed: int, packs: bool
    ) -> None:
        self.sources = tuple(sources)
        self.data = data
        self.template = template
        self.seed = seed
        self.packs = packs

    def __iter__(self) -> Iterator[Any]:
        for epoch in itertools.count():
            samples = self._samples(epoch)
            empty = True
            for item in self._packed(samples) if self.packs else samples:
                empty = False
                yield item
            if empty:
                raise DataError(
                    "the stream has no usable rows for this reader",
                    "check data.dataset_name, data.max_length and the number of ranks and workers",
                )

    def _samples(self, epoch: int) -> Iterator[Encoded]:
        shard, shards = _shard()
        rows: Iterator[Conversation] = itertools.islice(self._rows(epoch), shard, None, shards)
        if self.data.shuffle:
            rows = shuffled(rows, self.seed + 7919 * epoch + shard)
        while chunk := list(itertools.islice(rows, CHUNK)):
            yield from self._encode(chunk)

    def _rows(self, epoch: int) -> Iterator[Conversation]:
        readers = [functools.partial(self._read, source) for source in self.sources]
        return mixed(readers, self.data.weights, self.data.stopping_strategy, self.seed + epoch)

    def _read(self, source: Source) -> Iterator[Conversation]:
        def start() -> Iterator[Conversation]:
            return conversations(source, self.data, SourceReport(source.name))

        return counted(start, source.count, source.name)

    def _encode(self, chunk: list[Conversation]) -> list[Encoded]:
        try:
            return self.template.encode(chunk)
        except DataError:
            if self.data.on_error == "raise":
                raise
        samples: list[Encoded] = []
        for row in chunk:
            try:
                samples += self.template.encode([row])
            except DataError:
                continue  # on_error is skip: the good rows of the chunk stay
        return samples

    def _packed(self, samples: Iterator[Encoded]) -> Iterator[list[Encoded]]:
        while buffer := list(itertools.islice(samples, PACK_BUFFER)):
            lengths = np.array([len(sample.input_ids) for sample in buffer], dtype=np.int64)
            order, offsets = pack_samples(lengths, self.data.max_length)
            packs = [order[start:end] for start, end in itertools.pairwise(offsets)]
            for index in np.random.default_rng(self.seed).permutation(len(packs)):
                yield [buffer[member] for member in packs[index]]


def shuffled(rows: Iterator[Conversation], seed: int, size: int = SHUFFLE_BUFFER) -> Iterator[Conversation]:
    """Rows in random order as far as a buffer reaches."""
    generator = np.random.default_rng(seed)
    buffer = list(itertools.islice(rows, size))
    for row in rows:
        place = int(generator.integers(len(buffer)))
        yield buffer[place]
        buffer[place] = row
    for place in generator.permutation(len(buffer)):
        yield buffer[place]


def _shard() -> tuple[int, int]:
    """(own number, number of readers) over all ranks and data workers."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    worker = get_worker_info()
    if worker is None:
        return rank, world
    return rank * worker.num_workers + worker.id, world * worker.num_workers
