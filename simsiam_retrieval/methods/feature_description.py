"""A short text that describes an encoder's features: stages of the network, pooling, flip, PCA. Imports no torch.

Example: ``stage2@4x4,stage3@2x2:gem*0.5,flip,pca256^0.5``. Its parts:

- ``stage2@4x4``: the map of stage 2, averaged over each cell of a 4 x 4 grid.
- ``stage3@2x2:gem*0.5``: the map of stage 3, generalised mean over a 2 x 2 grid, with half the weight.
- ``flip``: the features of the mirror image are added.
- ``pca256^0.5``: PCA reduces the vector to 256 numbers. Each axis is divided by its standard deviation to the power
  0.5.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..core.errors import UserError

METADATA_KEY = "features"  # in the metadata of an encoder's file
WHOLE = "backbone"  # old text for the default: the last stage, averaged
LAST_STAGE = 4
MOST_CELLS = 16  # rows or columns of a grid, at most
GEM_POWER = 3.0  # generalised mean (Radenovic et al. 2019, section 3.2): power 1 is the mean, infinity the maximum

Pooling = Literal["mean", "gem"]

_BLOCK = re.compile(r"stage(\d)(?:@(\d+)x(\d+))?(?::(mean|gem))?(?:\*(\d+(?:\.\d+)?))?")
_PCA = re.compile(r"pca(\d+)(?:\^(\d+(?:\.\d+)?))?")
_OLD_LAYER = re.compile(r"layer layer(\d), averaged over the image")
_OLD_REDUCTION = re.compile(r"PCA( whitening(?: of power ([\d.]+))?)? to (\d+)")
_EXAMPLE = "stage2@4x4,stage3@2x2*0.5,flip,pca256^0.5"


@dataclass(frozen=True)
class Block:
    """One stage's part of the vector: the stage's map, pooled over a grid, scaled to length ``weight``.

    Attributes:
        stage: 0 is the stem, 1 to 4 are the residual stages.
        rows: Rows of the grid.
        columns: Columns of the grid.
        pooling: "mean" or "gem" (generalised mean).
        weight: Length of this part of the vector.
    """

    stage: int
    rows: int = 1
    columns: int = 1
    pooling: Pooling = "mean"
    weight: float = 1.0

    def __str__(self) -> str:
        grid = "" if (self.rows, self.columns) == (1, 1) else f"@{self.rows}x{self.columns}"
        pooling = "" if self.pooling == "mean" else f":{self.pooling}"
        return f"stage{self.stage}{grid}{pooling}" + ("" if self.weight == 1 else f"*{self.weight:g}")


@dataclass(frozen=True)
class Features:
    """The description of a feature vector. ``str()`` gives the text that ``parse`` reads.

    Attributes:
        blocks: The parts of the vector, in order.
        flip: Whether the features of the mirror image are added.
        dim: Numbers kept by PCA; None without PCA.
        power: Power of the whitening: 0 is plain PCA, 1 divides each axis by its standard deviation.
    """

    blocks: tuple[Block, ...] = (Block(LAST_STAGE),)
    flip: bool = False
    dim: int | None = None
    power: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Features":
        """Read a description.

        Args:
            text: For example "stage2@4x4,stage3@2x2*0.5,flip,pca256^0.5".

        Returns:
            The description.

        Raises:
            UserError: A part of the text is wrong; the message names the part.
        """
        blocks: list[Block] = []
        flip, dim, power = False, None, 0.0
        for word in (word.strip() for word in text.split(",")):
            if word == "flip":
                flip = True
            elif found := _PCA.fullmatch(word):
                if dim is not None:
                    raise UserError(f"--features {text}: PCA twice")
                dim, power = int(found[1]), float(found[2] or 0)
                if dim < 1 or power > 1:
                    raise UserError(f"--features {text}: {word}: give 1 number or more, and a power up to 1")
            elif found := _BLOCK.fullmatch(word):
                blocks.append(_block(found, text))
            else:
                raise UserError(f"--features {text}: cannot read {word!r}; an example: {_EXAMPLE}")
        if not blocks:
            raise UserError(f"--features {text}: names no stage; an example: {_EXAMPLE}")
        places = [(block.stage, block.rows, block.columns, block.pooling) for block in blocks]
        if len(set(places)) < len(places):
            raise UserError(f"--features {text}: the same stage, grid and pooling twice")
        return cls(tuple(blocks), flip, dim, power)

    def __str__(self) -> str:
        words = [str(block) for block in self.blocks]
        if self.flip:
            words.append("flip")
        if self.dim is not None:
            words.append(f"pca{self.dim}" + (f"^{self.power:g}" if self.power else ""))
        return ",".join(words)

    @property
    def last_stage(self) -> int:
        """The last stage that is needed. Later stages are not in the exported file."""
        return max(block.stage for block in self.blocks)

    @property
    def plain(self) -> bool:
        """Whether this is the default, apart from PCA: the last stage, averaged, without flip."""
        return self.blocks == (Block(LAST_STAGE),) and not self.flip

    def reduced(self, dim: int | None, power: float) -> "Features":
        """Return the same description with another PCA.

        Args:
            dim: Numbers kept by PCA; None for no PCA.
            power: Power of the whitening.

        Returns:
            The changed description.
        """
        return replace(self, dim=dim, power=power if dim is not None else 0.0)


def _block(found: re.Match[str], text: str) -> Block:
    stage, rows, columns = int(found[1]), int(found[2] or 1), int(found[3] or 1)
    weight = float(found[5] or 1)
    if stage > LAST_STAGE:
        raise UserError(f"--features {text}: stage{stage}: give 0 (the stem) to {LAST_STAGE}")
    if not (1 <= rows <= MOST_CELLS and 1 <= columns <= MOST_CELLS):
        raise UserError(f"--features {text}: @{rows}x{columns}: give 1 to {MOST_CELLS} cells each way")
    if weight <= 0:
        raise UserError(f"--features {text}: *{found[5]}: give a weight above 0, or leave the stage out")
    return Block(stage, rows, columns, "gem" if found[4] == "gem" else "mean", weight)


def described(metadata: Mapping[str, str]) -> Features | None:
    """Read the description from an encoder's metadata. Also understands the texts of older files.

    Args:
        metadata: Metadata of an ONNX file.

    Returns:
        The description. None if the features are not made of stages (projections, parts of a stage), or if a newer
        version wrote the text.
    """
    text = metadata.get(METADATA_KEY, WHOLE)
    layer = _OLD_LAYER.fullmatch(text)
    if text == WHOLE or layer:
        features = Features() if layer is None else Features((Block(int(layer[1])),))
        reduction = _OLD_REDUCTION.match(metadata.get("reduction", ""))
        if reduction is None:
            return features
        return features.reduced(int(reduction[3]), float(reduction[2] or 1) if reduction[1] else 0.0)
    try:
        return Features.parse(text)
    except UserError:
        return None
