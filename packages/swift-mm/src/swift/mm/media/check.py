"""Every media reference of a data set, opened: what is there, how large it is, and what is bad."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from swift.core.config.schema import DataConfig
from swift.core.data.sources import SourceReport, conversations, find_sources
from swift.core.errors import DataError
from swift.core.types import Conversation
from swift.mm.media.image import load_image


@dataclass
class MediaReport:
    """Counts of a data set.

    Attributes:
        rows, with_media: conversations, and those that have media.
        sizes: (width, height) of every image that could be loaded, in pixels.
        videos, audios: references that are counted but not opened.
        problems: one line for each image that cannot be used, naming its row.
    """

    rows: int = 0
    with_media: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)
    videos: int = 0
    audios: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, row: Conversation) -> None:
        """Count one row and open its images."""
        self.rows += 1
        self.with_media += bool(row.images or row.videos or row.audios)
        self.videos += len(row.videos)
        self.audios += len(row.audios)
        for source in row.images:
            try:
                self.sizes.append(load_image(source, row.origin).size)
            except DataError as error:
                self.problems.append(error.problem)

    def render(self) -> str:
        """The counts as text."""
        lines = [
            f"{self.rows:,} rows, {self.with_media:,} with media",
            f"{len(self.sizes):,} images{self._sizes()}; {len(self.problems):,} bad",
        ]
        if self.videos or self.audios:
            lines.append(f"{self.videos:,} videos and {self.audios:,} audio files, not opened")
        return "\n".join(lines)

    def _sizes(self) -> str:
        if not self.sizes:
            return ""
        areas = sorted(self.sizes, key=lambda size: size[0] * size[1])
        smallest, median, largest = areas[0], statistics.median_low(range(len(areas))), areas[-1]
        named = (smallest, areas[median], largest)
        return (
            " of "
            + ", ".join(f"{width} x {height}" for width, height in named)
            + " (smallest, median, largest)"
        )


def check_media(data: DataConfig) -> MediaReport:
    """Open every image of these data sets, decoding it as training would.

    Raises:
        DataError: a data set cannot be found, or a row cannot be read at all.
    """
    report = MediaReport()
    for source in find_sources(data.dataset_name, None):
        for row in conversations(source, data, SourceReport(source.name)):
            report.add(row)
    return report
