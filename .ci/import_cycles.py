"""Print whether modules of the package on PYTHONPATH import each other in a circle; late imports count as well.

Run where ``simsiam_retrieval`` is a wheel's, with export and app inside it. Exit code 1 for a circle.
"""

import graphlib
import sys

import grimp

PACKAGE = "simsiam_retrieval"


def main() -> int:
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        print("import cycle:", " <- ".join(error.args[1]), file=sys.stderr)
        return 1
    print(f"no import cycle: {len(imports)} modules, {sum(map(len, imports.values()))} imports, late ones included")
    return 0


if __name__ == "__main__":
    sys.exit(main())
