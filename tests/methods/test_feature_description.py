"""The short text that says what a vector is made of."""

import pytest

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.methods.feature_description import Block, Features, described


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stage4", Features()),
        ("stage2@4x4", Features((Block(2, 4, 4),))),
        ("stage2@4x2:gem*0.5,stage0", Features((Block(2, 4, 2, "gem", 0.5), Block(0)))),
        ("stage3@2x2,flip,pca128", Features((Block(3, 2, 2),), True, 128)),
        ("stage1@3x3*2,flip,pca64^0.25", Features((Block(1, 3, 3, "mean", 2.0),), True, 64, 0.25)),
    ],
)
def test_a_description_and_its_text(text: str, expected: Features) -> None:
    assert Features.parse(text) == expected
    assert str(expected) == text


def test_words_in_another_order_mean_the_same() -> None:
    assert Features.parse("pca64^1, flip ,stage2:mean@1x1".replace(":mean@1x1", "@1x1:mean*1")) == Features(
        (Block(2),), True, 64, 1.0
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot read ''"),
        ("flip", "names no stage"),
        ("stage5", "stage5: give 0"),
        ("stage2@0x4", "@0x4: give 1 to 16"),
        ("stage2@4", "cannot read 'stage2@4'"),
        ("stage2@17x4", "@17x4"),
        ("stage2:max", "cannot read"),
        ("stage2*0", "above 0"),
        ("stage2*-1", "cannot read"),
        ("stage2,stage2*3", "twice"),
        ("stage2,pca8,pca9", "PCA twice"),
        ("stage2,pca0", "pca0"),
        ("stage2,pca8^2", "up to 1"),
        ("layer2", "an example"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, said: str) -> None:
    with pytest.raises(UserError) as raised:
        Features.parse(text)
    assert said in str(raised.value) and str(raised.value).startswith(f"--features {text}: ")


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({}, "stage4"),
        ({"features": "backbone"}, "stage4"),
        ({"features": "backbone", "reduction": "PCA to 8, fitted on 38 images"}, "stage4,pca8"),
        ({"features": "backbone", "reduction": "PCA whitening to 8, fitted on 38 images"}, "stage4,pca8^1"),
        (
            {"features": "backbone", "reduction": "PCA whitening of power 0.5 to 256, fitted on 4096 images"},
            "stage4,pca256^0.5",
        ),
        ({"features": "layer layer3, averaged over the image"}, "stage3"),
        ({"features": "stage2@4x4,flip,pca256^0.5", "reduction": "PCA to 7, in words"}, "stage2@4x4,flip,pca256^0.5"),
        ({"features": "layer layer2.1, averaged over the image"}, None),
        ({"features": "projector"}, None),
        ({"features": "of a newer version"}, None),
    ],
)
def test_files_old_and_new_say_what_they_hold(metadata: dict[str, str], text: str | None) -> None:
    found = described(metadata)
    assert (None if found is None else str(found)) == text
