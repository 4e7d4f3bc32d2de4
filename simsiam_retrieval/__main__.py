"""``python -m simsiam_retrieval [COMMAND]``: which commands there are, or one of them."""

import runpy
import sys

GROUPS = {
    "search": {
        "demo": "run the main job on the example photos",
        "open": "index folders and open the app, in one step",
        "index": "make or update a collection from folders of images",
        "search": "find the images of a collection that look like a query",
        "duplicates": "list groups of images that are copies of each other, or nearly",
        "check": "list images that are blurred, dark, odd, damaged, or unlike all others",
        "select": "choose the images that are most worth a label, also for Label Studio and CVAT",
        "app": "open a web page: search, duplicates, map, labels, training runs",
        "status": "show what a collection holds",
        "collections": "list, select, rename and remove the collections of this machine",
    },
    "train": {
        "pretrain": "train an encoder on folders of unlabelled images",
        "export": "write a run as ONNX files, checked against PyTorch",
        "convert": "turn SimSiam or ResNet weights of another program into a run folder",
    },
    "evaluate": {
        "probe": "measure features on labelled folders, beside raw pixels and random weights",
        "transfer": "fine-tune a detector from pretrained weights, beside random weights",
        "reproduce": "run the rows of the SimSiam paper's tables and print ours beside the paper's",
    },
    "ship": {
        "publish": "publish a run's encoder on the Hugging Face Hub",
        "hand_over": "copy a collection into Parquet, LanceDB, Qdrant or Milvus",
    },
}
COMMANDS = {name: what for group in GROUPS.values() for name, what in group.items()}


def main() -> None:
    """Run the command."""
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        name = sys.argv.pop(1)
        module = f"simsiam_retrieval.{name}"
        sys.argv[0] = module
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    width = max(map(len, COMMANDS))
    if len(sys.argv) == 1 or sys.argv[1] in ("-h", "--help", "help"):
        print("usage: simsiam-retrieval COMMAND ..., or python -m simsiam_retrieval.COMMAND ...; each has --help")
        for title, commands in GROUPS.items():
            print(f"\n{title}")
            print("\n".join(f"  {name:{width}}  {what}" for name, what in commands.items()))
        return
    print(f"error: {sys.argv[1]}: no such command; there are: {', '.join(COMMANDS)}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
