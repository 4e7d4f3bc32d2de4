"""The section of the model card that shows how to use the encoder."""

import inspect

from .card_metadata import Stated
from .load_rgb import load_rgb
from .run_facts import Facts


def usage(facts: Facts, stated: Stated) -> str:
    """Write the card's section with code: this package, ONNX Runtime alone, timm.

    Args:
        facts: The run.
        stated: The publisher's statements.

    Returns:
        Markdown.
    """
    name = stated.repository
    parts = [
        f"""## How to use it

With simsiam-retrieval (it verifies checksums and applies the EXIF orientation):

```python
from simsiam_retrieval import load_encoder
encoder = load_encoder("hf://{name}")
vectors = encoder.embed(["a.jpg", "b.jpg"])
print(vectors[0] @ vectors[1])
```

To index a folder: `python -m simsiam_retrieval.index FOLDER --encoder hf://{name}`

With ONNX Runtime only. Crop, resampling and normalisation are in the graph:

```python
import io
import huggingface_hub
import numpy as np
import onnxruntime
from PIL import Image, ImageCms, ImageOps

{inspect.getsource(load_rgb)}
file = huggingface_hub.hf_hub_download("{name}", "{facts.default.path}")
encoder = onnxruntime.InferenceSession(file)
vectors = encoder.run(["vectors"], {{"images": load_rgb("a.jpg")[None]}})[0]
```"""
    ]
    if facts.timm:
        after = "the graph's further steps" if facts.default.beyond_backbone else "they are scaled to length 1"
        parts.append(
            f"""With timm, for example for fine-tuning. It gives the backbone's features before {after}:

```python
import timm
from PIL import Image
model = timm.create_model("hf-hub:{name}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
features = model(transform(Image.open("a.jpg").convert("RGB"))[None])
```"""
        )
    return "\n\n".join(parts)
