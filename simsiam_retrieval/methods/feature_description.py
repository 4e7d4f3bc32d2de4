"""What a vector is made of: stages of the network, how their maps are pooled, PCA; one short text. No torch here.

``stage2@4x4,stage3@2x2:gem*0.5,flip,pca256^0.5``: the means of stage 2's map over a grid of 4 x 4 cells, beside
generalised means of stage 3's over 2 x 2 cells at half the weight; the image and its mirror image added up; reduced by
PCA to 256 numbers, each axis divided by the square root of its deviation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..core.errors import UserError

METADATA_KEY = "features"  # of an encoder's file
WHOLE = "backbone"  # what files say that have no description: the last stage, averaged
LAST_STAGE = 4
MOST_CELLS = 16  # of a grid, each way
GEM_POWER = 3.0  # of the generalised mean (Radenovic et al. 2019, section 3.2): 1 is the mean, infinity the maximum

Pooling = Literal["mean", "gem"]

_BLOCK = re.compile(r"stage(\d)(?:@(\d+)x(\d+))?(?::(mean|gem))?(?:\*(\d+(?:\.\d+)?))?")
_PCA = re.compile(r"pca(\d+)(?:\^(\d+(?:\.\d+)?))?")
_OLD_LAYER = re.compile(r"layer layer(\d), averaged over the image")
_OLD_REDUCTION = re.compile(r"PCA( whitening(?: of power ([\d.]+))?)? to (\d+)")
_EXAMPLE = "stage2@4x4,stage3@2x2*0.5,flip,pca256^0.5"


@dataclass(frozen=True)
class Block:
    """One stage's part of the vector: its map, pooled over a grid of cells, as a vector of length ``weight``."""

    stage: int  # 0 is the stem, 1 to 4 the residual stages
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
    """What a vector is made of. ``str()`` gives the text that :meth:`parse` reads."""

    blocks: tuple[Block, ...] = (Block(LAST_STAGE),)
    flip: bool = False  # the mirror image's features added
    dim: int | None = None  # numbers kept by PCA; None: no PCA
    power: float = 0.0  # of whitening: 0 is PCA alone, 1 divides each axis by its deviation

    @classmethod
    def parse(cls, text: str) -> "Features":
        """The description in ``text``. Raises :class:`UserError` that names the word which is wrong."""
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
        """The last stage that is needed; what comes after is not in the file."""
        return max(block.stage for block in self.blocks)

    @property
    def plain(self) -> bool:
        """Whether this is what a backbone gives by itself, PCA aside: the last stage, averaged."""
        return self.blocks == (Block(LAST_STAGE),) and not self.flip

    def reduced(self, dim: int | None, power: float) -> "Features":
        """The same with another PCA behind it; None for none."""
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
    """The description of an encoder from its file's metadata, those of older files included.

    None where features are not of stages: projections, parts of a stage, or a text of a newer version.
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
