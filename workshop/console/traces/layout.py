"""Where to draw the nodes and edges of a graph: in layers from left to right.

The method is that of Sugiyama, Tagawa and Toda (1981): turn the edges around that close a cycle; put each
node into the layer after its last predecessor; give an edge that crosses a layer a place of its own there;
order each layer by the mean place of its neighbours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

NODE_WIDTH = 130
NODE_HEIGHT = 44
LAYER_GAP = 260
ROW_GAP = 104
MARGIN = 20
LABEL_WIDTH = 150
LABEL_HEIGHT = 36
SWEEPS = 8

Pair = tuple[str, str]


@dataclass(frozen=True)
class Point:
    """A place in the drawing, in its units."""

    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """The drawing: the middle of each node, the path of each edge in SVG, the middle of its label."""

    width: float
    height: float
    nodes: Mapping[str, Point]
    paths: Mapping[Pair, str]
    labels: Mapping[Pair, Point]


def layout(nodes: Sequence[str], edges: Sequence[Pair]) -> Drawing:
    """Return where to draw a graph; it may have cycles, and edges from a node to itself."""
    forward = _without_cycles(nodes, [edge for edge in edges if edge[0] != edge[1]])
    layer = _layers(nodes, forward)
    # A way of a forward edge: its nodes, and a place (an edge and a layer) in each layer between.
    ways: dict[Pair, list[object]] = {
        (a, b): [a, *(((a, b), level) for level in range(layer[a] + 1, layer[b])), b] for a, b in forward
    }
    places = _order(nodes, layer, ways)
    height = max((place for _, place in places.values()), default=0) * ROW_GAP + NODE_HEIGHT + 2 * MARGIN
    last = max((level for level, _ in places.values()), default=0)
    width = last * (NODE_WIDTH + LAYER_GAP) + NODE_WIDTH + 2 * MARGIN

    def point(thing: object) -> Point:
        level, place = places[thing]
        return Point(
            MARGIN + NODE_WIDTH / 2 + level * (NODE_WIDTH + LAYER_GAP),
            MARGIN + NODE_HEIGHT / 2 + place * ROW_GAP,
        )

    paths, labels = {}, {}
    taken: list[Point] = []
    for edge in edges:
        if edge[0] == edge[1]:
            middle = point(edge[0])
            paths[edge] = _loop(middle)
            wanted = Point(middle.x, middle.y + NODE_HEIGHT)
        else:
            backward = edge not in ways
            way = [point(thing) for thing in ways[(edge[1], edge[0]) if backward else edge]]
            # An edge and the one against it would lie upon each other.
            shift = NODE_HEIGHT / 4 if backward else 0
            way = [Point(one.x, one.y + shift) for one in way]
            first, last_one = way[0], way[-1]
            drawn = [
                Point(first.x + NODE_WIDTH / 2, first.y),
                *way[1:-1],
                Point(last_one.x - NODE_WIDTH / 2, last_one.y),
            ]
            paths[edge] = _curve(drawn[::-1] if backward else drawn)
            wanted = _middle(drawn)
        labels[edge] = _free_place(wanted, taken)
        taken.append(labels[edge])
    bottom = max([height, *(label.y + LABEL_HEIGHT / 2 + MARGIN for label in taken)])
    return Drawing(width, bottom, {node: point(node) for node in nodes}, paths, labels)


def _without_cycles(nodes: Sequence[str], edges: Sequence[Pair]) -> list[Pair]:
    """Return the edges with those turned around that lead back to where a walk in depth came from."""
    targets: dict[str, list[str]] = {node: [] for node in nodes}
    entered = {b for _, b in edges}
    for a, b in edges:
        targets[a].append(b)
    state: dict[str, str] = {}
    forward: dict[Pair, None] = {}  # in place of a set, for its order
    for first in sorted(nodes, key=lambda node: node in entered):
        if first in state:
            continue
        state[first] = "open"
        stack = [(first, iter(targets[first]))]
        while stack:
            node, rest = stack[-1]
            target = next(rest, None)
            if target is None:
                state[node] = "done"
                stack.pop()
            elif state.get(target) == "open":
                forward[target, node] = None
            else:
                forward[node, target] = None
                if target not in state:
                    state[target] = "open"
                    stack.append((target, iter(targets[target])))
    return list(forward)


def _layers(nodes: Sequence[str], forward: Sequence[Pair]) -> dict[str, int]:
    """Return the layer of each node: one more than that of its last predecessor."""
    layer = dict.fromkeys(nodes, 0)
    changed = True
    while changed:  # ends, because there are no cycles
        changed = False
        for a, b in forward:
            if layer[b] <= layer[a]:
                layer[b] = layer[a] + 1
                changed = True
    return layer


def _order(
    nodes: Sequence[str], layer: Mapping[str, int], ways: Mapping[Pair, Sequence[object]]
) -> dict[object, tuple[int, float]]:
    """Return layer and place of each node and of each place on a way."""
    columns: list[list[object]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    for node in nodes:
        columns[layer[node]].append(node)
    neighbours: dict[object, list[object]] = {}
    for (a, _), way in ways.items():
        for step, thing in enumerate(way[1:-1], start=1):
            columns[layer[a] + step].append(thing)
        for one, other in pairwise(way):
            neighbours.setdefault(one, []).append(other)
            neighbours.setdefault(other, []).append(one)
    most = max(map(len, columns))
    places: dict[object, tuple[int, float]] = {}

    def put(level: int) -> None:
        # In the middle of the height of the largest column.
        first = (most - len(columns[level])) / 2
        places.update((thing, (level, first + place)) for place, thing in enumerate(columns[level]))

    def mean(thing: object) -> float:
        around = [places[one][1] for one in neighbours.get(thing, ())]
        return sum(around) / len(around) if around else places[thing][1]

    for level in range(len(columns)):
        put(level)
    for sweep in range(SWEEPS):
        for level in range(len(columns)) if sweep % 2 == 0 else reversed(range(len(columns))):
            columns[level].sort(key=mean)
            put(level)
    return places


def _curve(points: Sequence[Point]) -> str:
    path = f"M {points[0].x:.1f} {points[0].y:.1f}"
    for a, b in pairwise(points):
        middle = (a.x + b.x) / 2
        path += f" C {middle:.1f} {a.y:.1f} {middle:.1f} {b.y:.1f} {b.x:.1f} {b.y:.1f}"
    return path


def _loop(middle: Point) -> str:
    bottom = middle.y + NODE_HEIGHT / 2
    return (
        f"M {middle.x - 20:.1f} {bottom:.1f} C {middle.x - 30:.1f} {bottom + 40:.1f}"
        f" {middle.x + 30:.1f} {bottom + 40:.1f} {middle.x + 20:.1f} {bottom:.1f}"
    )


def _middle(points: Sequence[Point]) -> Point:
    """Return the middle of the step that is in the middle of a way."""
    step = (len(points) - 1) // 2
    a, b = points[step], points[step + 1]
    return Point((a.x + b.x) / 2, (a.y + b.y) / 2)


def _free_place(wanted: Point, taken: Sequence[Point]) -> Point:
    """Return the nearest place below `wanted` where a label covers no other."""
    place = wanted
    while any(
        abs(place.x - other.x) < LABEL_WIDTH and abs(place.y - other.y) < LABEL_HEIGHT for other in taken
    ):
        place = Point(place.x, place.y + 6)
    return place
