"""What an update stores of a picture when the collection has regions; runs in worker processes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...encoder.region_encoder import RegionEncoder
from ...images.decode import Decoded
from ...images.file_facts import facts
from ..types import Regions
from .region_boxes import region_boxes


@dataclass
class RegionFacts:
    """``facts`` with the regions of the picture; a function that can be sent to a worker process.

    Attributes:
        encoder: Embeds the regions.
    """

    encoder: RegionEncoder

    def __call__(self, content: bytes, decoded: Decoded) -> dict[str, Any]:
        """Compute what is stored of a file besides its vector.

        Args:
            content: Bytes of the file.
            decoded: The decoded file.

        Returns:
            Values by the names of the catalog's entries.
        """
        return {**facts(content, decoded), "regions": self.regions(decoded)}

    def regions(self, decoded: Decoded) -> Regions:
        """Compute the regions of a picture.

        Args:
            decoded: The picture.

        Returns:
            The regions; none for a picture that is plain everywhere.
        """
        boxes = region_boxes(*decoded.image.size)
        rows, vectors = self.encoder.vectors(decoded, boxes)
        return Regions(boxes[rows], vectors.astype(np.float16))
