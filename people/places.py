"""Where pickup stations are: how far, in what order, and how they lie on our map. Positions in 1e-6 degrees."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

METRES_PER_DEGREE = 111_195  # of latitude, on a sphere of 6,371 km
WIDTH, HEIGHT, EDGE = 360, 300, 34  # of the map, in its own pixels
TOUCHING = 25  # pixels between two pins that would cover each other
LABEL_HEIGHT, WIDE, NARROW = 15, 12, 6.5
LABEL_MOST = 12 * WIDE + 8  # pixels a name may take
NAMED = 10  # so many pins have their names beside them


@dataclass(frozen=True)
class Position:
    """A place on the earth (WGS-84, as a browser tells it), in millionths of a degree."""

    lat_e6: int
    lon_e6: int


def degrees_e6(text: str, *, most: int) -> int | None:
    """Return degrees written as a decimal number in millionths; None for what is no number or beyond ±`most`.

    >>> degrees_e6("36.1074", most=90), degrees_e6("120.468700", most=90), degrees_e6("nan", most=90)
    (36107400, None, None)
    """
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number) > most:
        return None
    return int((number * 1_000_000).to_integral_value())


def shown_degrees(value_e6: int | None) -> str:
    """Return millionths of a degree as people write them.

    >>> shown_degrees(36107400), shown_degrees(-500), shown_degrees(None)
    ('36.107400', '-0.000500', '')
    """
    return "" if value_e6 is None else f"{Decimal(value_e6).scaleb(-6):.6f}"


def metres_between(one: Position, other: Position) -> int:
    """Return the distance of two places within a city, in metres, as the crow flies.

    >>> metres_between(Position(36_000_000, 120_000_000), Position(36_010_000, 120_000_000))
    1112
    >>> metres_between(Position(36_000_000, 120_000_000), Position(36_000_000, 120_010_000))
    900
    """
    middle = math.radians((one.lat_e6 + other.lat_e6) / 2e6)
    north = (one.lat_e6 - other.lat_e6) / 1e6
    east = ((one.lon_e6 - other.lon_e6 + 180_000_000) % 360_000_000 - 180_000_000) / 1e6 * math.cos(middle)
    return round(math.hypot(north, east) * METRES_PER_DEGREE)


def centre(positions: Sequence[Position]) -> Position | None:
    """Return the middle of some places, None of none.

    >>> centre([Position(10, 20), Position(30, 60)])
    Position(lat_e6=20, lon_e6=40)
    """
    if not positions:
        return None
    return Position(
        sum(one.lat_e6 for one in positions) // len(positions), sum(one.lon_e6 for one in positions) // len(positions)
    )


@dataclass(frozen=True)
class Spot:
    """A station to be drawn: its number in the list (None where it is not listed) and its name."""

    position: Position
    number: int | None
    name: str


@dataclass(frozen=True)
class Pin:
    """What is drawn at one point: the numbers that stand there, or how many stations that are not listed."""

    x: int
    y: int
    numbers: tuple[int, ...]
    count: int
    names: tuple[str, ...]
    label: str = ""
    label_x: int = 0
    label_end: bool = False

    @property
    def text(self) -> str:
        """What stands in the pin: 3, 3·5 for two at one point, 3… for more; ×12 for twelve that are not listed."""
        if not self.numbers:
            return f"×{self.count}" if self.count > 1 else ""
        if len(self.numbers) > 2:
            return f"{self.numbers[0]}…"
        return "·".join(str(number) for number in self.numbers)


@dataclass(frozen=True)
class Map:
    """A map: its pins, where the reader is (None where nobody said), and the length of its scale."""

    width: int
    height: int
    pins: tuple[Pin, ...]
    here: tuple[int, int] | None
    scale_px: int
    scale_m: int


def drawn(spots: Sequence[Spot], *, here: Position | None = None) -> Map | None:
    """Return the map of some stations, None where none has a position.

    It covers those that are listed (all, where none is) and where the reader is. Pins that would cover each other
    become one: a listed pin keeps its numbers, the others are counted, so that hundreds stay readable on a telephone.

    >>> two = [Spot(Position(36_100_000, 120_400_000), 1, "甲"), Spot(Position(36_200_000, 120_500_000), 2, "乙")]
    >>> [(pin.text, pin.x > 180, pin.y > 150) for pin in drawn(two).pins]
    [('1', False, True), ('2', True, False)]
    >>> drawn(two + [Spot(Position(36_150_000, 120_450_000), None, "丙")] * 12).pins[0].text
    '×12'
    >>> drawn([]) is None
    True
    """
    shown = [spot.position for spot in spots if spot.number is not None] or [spot.position for spot in spots]
    if not shown:
        return None
    extent = [*shown, here] if here is not None else shown
    south, north = min(one.lat_e6 for one in extent), max(one.lat_e6 for one in extent)
    west, east = min(one.lon_e6 for one in extent), max(one.lon_e6 for one in extent)
    narrowing = max(0.01, math.cos(math.radians((south + north) / 2e6)))
    # At least two kilometres across: a map of one station is a map of its surroundings.
    per_pixel = max(
        (east - west) * narrowing / (WIDTH - 2 * EDGE), (north - south) / (HEIGHT - 2 * EDGE), 18_000 / WIDTH
    )
    middle_lat, middle_lon = (south + north) / 2, (west + east) / 2

    def at(place: Position) -> tuple[int, int]:
        x = WIDTH / 2 + (place.lon_e6 - middle_lon) * narrowing / per_pixel
        y = HEIGHT / 2 - (place.lat_e6 - middle_lat) / per_pixel
        return round(x), round(y)

    listed = [spot for spot in spots if spot.number is not None]
    others = [spot for spot in spots if spot.number is None]
    pins = _named(_grouped([(at(spot.position), spot) for spot in listed]), here=at(here) if here is not None else None)
    rest = _grouped([(at(spot.position), spot) for spot in others])
    inside = [pin for pin in rest if 0 <= pin.x <= WIDTH and 0 <= pin.y <= HEIGHT]
    scale_px, scale_m = _scale(per_pixel)
    # What is not listed is drawn first, so that it lies under what is.
    return Map(WIDTH, HEIGHT, (*inside, *pins), at(here) if here is not None else None, scale_px, scale_m)


def _grouped(points: Sequence[tuple[tuple[int, int], Spot]]) -> list[Pin]:
    groups: list[tuple[int, int, list[Spot]]] = []
    cells: dict[tuple[int, int], list[int]] = {}
    for (x, y), spot in points:
        column, row = x // TOUCHING, y // TOUCHING
        near = [
            index
            for across in (-1, 0, 1)
            for down in (-1, 0, 1)
            for index in cells.get((column + across, row + down), ())
            if math.hypot(groups[index][0] - x, groups[index][1] - y) < TOUCHING
        ]
        if near:
            groups[near[0]][2].append(spot)
        else:
            cells.setdefault((column, row), []).append(len(groups))
            groups.append((x, y, [spot]))
    return [
        Pin(
            x,
            y,
            tuple(spot.number for spot in spots if spot.number is not None),
            len(spots),
            tuple(spot.name for spot in spots),
        )
        for x, y, spots in groups
    ]


def _width_of(text: str) -> float:
    return sum(WIDE if ord(character) > 0x2E7F else NARROW for character in text)


def _shortened(text: str) -> str:
    """Return a name that has room on the map: twelve Chinese characters, or twice as many letters.

    >>> [_shortened(name) for name in ("服务中心自提点", "松岭路工会驿站松岭路工会驿站", "District Service Centre")]
    ['服务中心自提点', '松岭路工会驿站松岭路工…', 'District Service Centre']
    """
    if _width_of(text) <= LABEL_MOST:
        return text
    while _width_of(text) > LABEL_MOST - WIDE:
        text = text[:-1]
    return f"{text}…"


def _named(pins: list[Pin], *, here: tuple[int, int] | None) -> list[Pin]:
    """Put names beside the first pins, where there is room; a name that would cover something is left out."""
    taken = [(pin.x - 13.0, pin.y - 13.0, pin.x + 13.0, pin.y + 13.0) for pin in pins]
    if here is not None:
        taken.append((here[0] - 8.0, here[1] - 8.0, here[0] + 8.0, here[1] + 8.0))
    named = []
    for index, pin in enumerate(pins):
        label = pin.names[0] if len(pin.names) == 1 else ""
        label = _shortened(label)
        width = _width_of(label)
        places = ((pin.x + 16, pin.x + 16 + width, False), (pin.x - 16 - width, pin.x - 16, True))
        for left, right, ends in places if label and index < NAMED else ():
            box = (left, pin.y - LABEL_HEIGHT / 2, right, pin.y + LABEL_HEIGHT / 2)
            free = left >= 2 and right <= WIDTH - 2 and not any(_overlap(box, other) for other in taken)
            if free:
                taken.append(box)
                label_x = pin.x - 16 if ends else pin.x + 16
                pin = Pin(pin.x, pin.y, pin.numbers, pin.count, pin.names, label, label_x, ends)
                break
        named.append(pin)
    return named


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _scale(per_pixel: float) -> tuple[int, int]:
    metres = per_pixel / 1e6 * METRES_PER_DEGREE
    lengths = [step * 10**power for power in range(2, 7) for step in (1, 2, 5)]
    best = max((length for length in lengths if length / metres <= WIDTH / 3), default=lengths[0])
    return round(best / metres), best
