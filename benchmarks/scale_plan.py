"""The arithmetic for a billion images, from what scale_simulation.py measured: ``scale_plan.py``.

Writes ``results/scale/README.md``: what was measured, and for a billion every figure with how it was worked out.
Prices and the speed of a GPU are assumptions, named as such; change them here and run it again.
"""

import json

from scale_simulation import DIM, RESULTS, chosen

IMAGES = 10**9
LISTS = 65_536
WIDE = 512  # values of the shipped encoder's vectors
MEGABYTES_A_PHOTO = 2.0
PHOTO_DECODE_MS = 10.9  # of one core; median of 62 photos of 4.8 megapixels, results/decoding/wallpapers.json
CATALOG_BYTES = 4230 - 4 * 512  # a row without its vector and thumbnail: a catalog of 1,000,000 images, on disk
GPU_FLOPS = 989e12  # dense fp16 of an H100, by its data sheet
GPU_SHARE = 0.1  # of them that a small network uses: an assumption
CORE_HOUR, SSD_READS = 0.04, 200_000  # dollars; random reads a second of one NVMe drive: assumptions
NETWORKS = {"ResNet-18 at 64 px": 2 * 0.149e9, "ResNet-50 at 224 px": 2 * 4.09e9}  # FLOP an image
NODE_RAM, NODE_CORES = 128, 32  # GB, cores


def read(name: str) -> dict:
    return json.loads((RESULTS / name).read_text())


def table(head: list[str], rows: list[list[object]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def measured(results: list[dict]) -> str:
    rates = [what for what in results[0]["microseconds_per_vector"] if what != "exact search"]
    rows: list[list[object]] = [
        [what, *(result["microseconds_per_vector"][what] for result in results)] for what in rates
    ]
    rows.append(["exact search, ms a query", *(result["exact_search_ms_per_query"] for result in results)])
    rows += [
        [f"training, {what.removeprefix('train: ')}, s", *(result["train_seconds"][what] for result in results)]
        for what in results[0]["train_seconds"]
    ]
    rows += [
        [f"bytes a vector, {name}, id included", *(result["bytes_per_vector"][name] for result in results)]
        for name in results[0]["bytes_per_vector"]
    ]
    rows.append(["peak memory, all three indexes, MiB", *(r["peak_rss_mib"]["all three indexes"] for r in results)])
    counts = [f"{result['vectors']:,}" for result in results]
    text = table(["CPU microseconds a vector", *counts], rows) + "\n"
    found = [(result, row) for result in results for row in chosen(result)]
    return text + table(
        ["search", "vectors", "nprobe", "recall@10", "CPU ms a query"],
        [
            [row["index"], f"{result['vectors']:,}", row["nprobe"], row["recall@10"], row["cpu_ms_per_query"]]
            for result, row in sorted(found, key=lambda pair: (pair[1]["index"], pair[0]["vectors"]))
        ],
    )


def nanoseconds_per_code(result: dict, kind: str) -> float:
    """Of one more vector that is looked at: the slope of CPU time over nprobe, by least squares."""
    points = [
        (row["nprobe"] * result["vectors"] / result["lists"], row["cpu_ms_per_query"] * 1e6)
        for row in result["searches"]
        if row["index"] == kind
    ]
    middle_x, middle_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    above = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return above / sum((x - middle_x) ** 2 for x, _ in points)


def plan(result: dict, embedding: dict) -> str:
    rate = result["microseconds_per_vector"]
    gflops = result["lists"] * DIM * 2 / rate["assign"] / 1000

    def hours(microseconds: float) -> float:
        return IMAGES * microseconds / 1e6 / 3600

    def pair(value: float, digits: int = 0) -> list[object]:
        return [f"{value:,.{digits}f}", f"{value * WIDE / DIM:,.{digits}f}"]

    rows: list[list[object]] = []

    def add(what: str, cells: list[object], how: str) -> None:
        rows.append([what, *cells, how])

    add("the photos, TB", [f"{MEGABYTES_A_PHOTO * IMAGES / 1e6:,.0f}"] * 2, f"assumed: {MEGABYTES_A_PHOTO:.0f} MB each")
    add("vectors, float16, TB", pair(2 * DIM * IMAGES / 1e12, 2), "computed: 2 bytes a value")
    add("catalog without thumbnails, TB", [f"{CATALOG_BYTES * IMAGES / 1e12:.1f}"] * 2, "measured a row at 1,000,000")
    for name, size in result["bytes_per_vector"].items():
        cells: list[object] = [f"{IMAGES * size / 1e9:,.0f}", f"{IMAGES * ((size - 8) * WIDE / DIM + 8) / 1e9:,.0f}"]
        add(f"index, {name}, GB", cells, "computed: bytes a vector, measured")
    add(
        "decoding, core-hours",
        [f"{IMAGES * PHOTO_DECODE_MS / 1e3 / 3600:,.0f}"] * 2,
        f"computed: {PHOTO_DECODE_MS} ms a photo of 4.8 MP, measured",
    )
    small = embedding["sets"][0]["cpu_ms"]
    add(
        "decoding thumbnails of 160 px, core-hours",
        [f"{IMAGES * small['decode'] / 1e3 / 3600:,.0f}"] * 2,
        f"computed: {small['decode']} ms each, measured",
    )
    add(
        "embedding on CPUs, shipped encoder, core-hours",
        ["", f"{IMAGES * small['embed'] / 1e3 / 3600:,.0f}"],
        f"computed: {small['embed']} ms each, measured",
    )
    for name, flop in NETWORKS.items():
        add(
            f"embedding, {name}, GPU-hours",
            [f"{IMAGES * flop / (GPU_FLOPS * GPU_SHARE) / 3600:,.1f}"] * 2,
            f"computed, not measured: {GPU_SHARE:.0%} of an H100's dense fp16",
        )
    training = 39 * LISTS * LISTS * DIM * 2 * 10 / gflops / 1e9 / 3600
    add(
        f"k-means, {LISTS:,} lists, core-hours",
        pair(training),
        f"computed: 10 rounds at {gflops:.0f} GFLOP/s, measured",
    )
    add(
        "assigning to lists, core-hours",
        pair(hours(rate["assign"] * LISTS / result["lists"])),
        f"computed: {rate['assign']} µs with {result['lists']:,} lists, measured",
    )
    for name in result["bytes_per_vector"]:
        add(
            f"encoding, {name}, core-hours",
            pair(hours(rate[f"add: {name}"]), 1),
            f"computed: {rate[f'add: {name}']} µs",
        )
    text = table(["a billion images", "256 values", "512 values", "how"], rows)

    per_list, reads = IMAGES / LISTS, result["candidates"]
    searches: list[list[object]] = []
    for row in chosen(result):
        refined = "compared again" in row["index"]
        name = row["index"].partition(",")[2]
        if not refined and "SQ8" not in name:
            continue
        nano = nanoseconds_per_code(result, row["index"])
        coarse = LISTS * DIM * 2 / gflops / 1e6  # ms
        low, high = (coarse + share * row["nprobe"] * per_list * nano / 1e6 for share in (1, 4))
        size = result["bytes_per_vector"][name.partition(",")[0]]
        nodes = -(-IMAGES * size // (NODE_RAM * 10**9 * 8 // 10))
        dollars = [f"{1e6 * spent / 1e3 / 3600 * CORE_HOUR:.2f}" for spent in (low, high)]
        searches.append(
            [
                name,
                row["recall@10"],
                f"{nano:.2f}",
                f"{row['nprobe']} to {4 * row['nprobe']}",
                f"{low:.0f} to {high:.0f}",
                f"{IMAGES * size / nodes / 1e9:,.0f} x {nodes}",
                f"{1000 * NODE_CORES * nodes / high:,.0f} to {1000 * NODE_CORES * nodes / low:,.0f}",
                f"{reads} ({1000 * reads / SSD_READS:.1f} ms)" if refined else "0",
                " to ".join(dollars),
            ]
        )
    head = [
        "serving, 256 values",
        "recall@10 at 10 million",
        "ns a code",
        "nprobe",
        "CPU ms a query",
        "GB of RAM x nodes",
    ]
    return text + "\n" + table([*head, "queries/s, all nodes", "SSD reads", "$ a million queries"], searches)


def main() -> None:
    results = [read(name) for name in ("1m.json", "10m.json")]
    statistics, embedding = read("statistics.json"), read("embedding.json")
    about = results[-1]
    compared = statistics["compared"]
    versions = f"FAISS {about['faiss']}, NumPy {about['numpy']}, Python {about['python']}; seed {about['seed']}"
    cosines = [[key, compared["real"][key], compared["generated"][key]] for key in compared["real"]]
    text = f"""# Large collections: what was measured, and what follows for a billion

Written by `scale_plan.py` from the JSON files beside it, which `scale_simulation.py` wrote. {about["processor"]}, one
thread, CPU time; {versions}. The machine did other work beside it.
What the figures mean stands in [docs/scale.md](../../../docs/scale.md).

## The vectors

{statistics["photos"]:,} photos ({statistics["folder"]}) through the shipped encoder. {statistics["kept"]} of
{statistics["values"]} principal axes keep {statistics["variance_kept"]:.1%} of the variance;
{statistics["within_share"]:.0%} of it lies within 45 clusters. Cosines of as many generated vectors:

{table(["", "photos", "generated"], cosines)}
## Measured

{about["lists"]:,} lists, {about["values"]} values, {about["queries"]} queries. nprobe is the least that reached
recall@10 of 0.95 on {about["queries"]} others or, where none did, came within 0.01 of the best.

{measured(results)}
## For a billion

{plan(about, embedding)}
Assumed: {MEGABYTES_A_PHOTO:.0f} MB a photo, ${CORE_HOUR} a core-hour, {SSD_READS:,} random reads a second of one drive,
nodes of {NODE_RAM} GB, four fifths of it for the index, and {NODE_CORES} cores. {LISTS:,} lists hold
{IMAGES / LISTS:,.0f} vectors each; nprobe is the one measured at {about["vectors"]:,} and four times that, since it is
not known for a billion.
"""
    (RESULTS / "README.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
