"""``python -m simsiam_retrieval [COMMAND]``: which commands there are, or one of them."""

import runpy
import sys

COMMANDS = {
    "demo": "the main job on the example photos",
    "pretrain": "train an encoder on a folder of unlabelled images",
    "export": "turn a run into one ONNX file",
    "index": "make or update a collection from folders of images",
    "open": "index a folder and look at it in the app, in one step",
    "search": "find the images of a collection that look like a query",
    "status": "what a collection holds, and where from",
    "collections": "list the collections of this machine, choose one, name one, remove one",
    "duplicates": "groups of images that are copies of each other, or nearly",
    "check": "what is wrong with the images: blurred, dark, damaged, twice, unlike all others",
    "app": "browse and search a collection in a web page",
    "convert": "other people's SimSiam or ResNet weights -> a run folder",
    "probe": "measure features on labelled folders, beside raw pixels and random weights",
    "publish": "a run as a model repository on the Hugging Face Hub, or as the folder of one",
    "hand_over": "a collection to Parquet, Lance, Qdrant or Milvus",
    "reproduce": "run the rows of the SimSiam paper's tables and print ours beside the paper's",
    "transfer": "fine-tune a detector from pretrained weights, beside random ones",
}


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        name = sys.argv.pop(1)
        module = f"simsiam_retrieval.{name}"
        sys.argv[0] = module
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    width = max(map(len, COMMANDS))
    lines = [f"python -m simsiam_retrieval {name:{width}}  {what}" for name, what in COMMANDS.items()]
    if len(sys.argv) == 1 or sys.argv[1] in ("-h", "--help", "help"):
        print("\n".join(lines))
        return
    print(f"error: {sys.argv[1]}: no such command; there are: {', '.join(COMMANDS)}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
