"""``python -m simsiam_retrieval``: which commands there are."""

COMMANDS = {
    "demo": "the main job on the example photos",
    "pretrain": "train an encoder on a folder of unlabelled images",
    "export": "turn a run into one ONNX file",
    "index": "make or update a collection from folders of images",
    "search": "find the images of a collection that look like a query",
    "status": "what a collection holds, and where from",
    "duplicates": "groups of images that are copies of each other, or nearly",
    "app": "browse and search a collection in a web page",
    "convert": "other people's SimSiam or ResNet weights -> a run folder",
    "probe": "measure features on labelled folders, beside raw pixels and random weights",
    "publish": "a run as a model repository on the Hugging Face Hub, or as the folder of one",
    "hand_over": "a collection to Parquet, Lance, Qdrant or Milvus",
    "reproduce": "run the rows of the SimSiam paper's tables and print ours beside the paper's",
    "transfer": "fine-tune a detector from pretrained weights, beside random ones",
}


def main() -> None:
    width = max(map(len, COMMANDS))
    for name, what in COMMANDS.items():
        print(f"python -m simsiam_retrieval.{name:{width}}  {what}")


if __name__ == "__main__":
    main()
