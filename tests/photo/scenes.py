"""Scenes as users photograph them, drawn around a glyph; the same glyph and number give the same picture."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Ink = Image.Image  # mode L, 0 nothing to 255 full ink
Scene = Callable[[Ink, np.random.Generator], Image.Image]
WIDTH, HEIGHT = 640, 480


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float64) / 255


def put(glyph: Ink, side: int = 240, at: tuple[int, int] = (200, 120), pen: float = 1.0) -> np.ndarray:
    """Share of ink (H, W) of a glyph that is `side` px high; `pen` below 1 makes it thinner."""
    page = Image.new("L", (WIDTH, HEIGHT))
    large = glyph.resize((side, side), Image.Resampling.BICUBIC)
    if pen < 1:
        large = large.filter(ImageFilter.MinFilter(2 * round(side * 0.05 * (1 - pen)) + 1))
    page.paste(large, at)
    return levels(page)


def drawn(draw: Callable[[ImageDraw.ImageDraw], object], turn: float = 0, blur: float = 0.6) -> np.ndarray:
    """Share of ink of what is drawn, turned by degrees about the middle; there is room beyond the picture."""
    page = Image.new("L", (3 * WIDTH, 3 * HEIGHT))
    draw(ImageDraw.Draw(page))
    page = page.rotate(turn, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(blur))
    return levels(page.crop((WIDTH, HEIGHT, 2 * WIDTH, 2 * HEIGHT)))


def lines(step: int, width: int, *, both: bool = True, turn: float = 0, offset: int = 0) -> np.ndarray:
    def draw(pen: ImageDraw.ImageDraw) -> None:
        for v in range(offset, 3 * HEIGHT, step):
            pen.line((0, v, 3 * WIDTH, v), fill=255, width=width)
        for v in range(offset, 3 * WIDTH if both else 0, step):
            pen.line((v, 0, v, 3 * HEIGHT), fill=255, width=width)

    return drawn(draw, turn)


def text(words: str, at: tuple[int, int], size: int) -> np.ndarray:
    page = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(page).text(at, words, fill=255, font=ImageFont.load_default(size))
    return levels(page)


def shape(kind: str, box: tuple[int, int, int, int], width: int = 0, turn: float = 0) -> np.ndarray:
    def draw(pen: ImageDraw.ImageDraw) -> None:
        moved = tuple(v + (WIDTH if k % 2 == 0 else HEIGHT) for k, v in enumerate(box))
        getattr(pen, kind)(moved, **({"outline": 255, "width": width} if width else {"fill": 255}))

    return drawn(draw, turn)


def light(darkest: float = 0.6, turn: float = 0.7) -> np.ndarray:
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    return darkest + (1 - darkest) * (turn * x + (1 - turn) * y)


def lamp(x: float, y: float, width: float) -> np.ndarray:
    at_y, at_x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.exp(-((at_x - x) ** 2 + (at_y - y) ** 2) / (2 * width**2))


def grain(rng: np.random.Generator, size: float, strength: float) -> np.ndarray:
    small = rng.normal(0, 1, (max(2, round(HEIGHT / size)), max(2, round(WIDTH / size))))
    large = Image.fromarray(small.astype(np.float32)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return strength * np.asarray(large, np.float64)


def photo(
    rng: np.random.Generator,
    paper: object,
    *layers: tuple[np.ndarray, object],
    light: object = 1.0,
    noise: float = 4,
) -> Image.Image:
    """Lay ink of given colors over paper, the last on top, light it, and add a camera's noise."""
    scene = np.broadcast_to(np.asarray(paper, np.float64), (HEIGHT, WIDTH, 3)).copy()
    for share, color in layers:
        scene += (np.asarray(color, np.float64) - scene) * share[..., None]
    scene *= np.asarray(light)[..., None] if np.ndim(light) == 2 else light
    return Image.fromarray((scene + rng.normal(0, noise, scene.shape)).round().clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def torn(rng: np.random.Generator) -> np.ndarray:
    """Where there is paper: right of an uneven edge."""
    edge = 90 + np.cumsum(rng.normal(0, 3, HEIGHT))
    return (np.arange(WIDTH) > edge[:, None]).astype(float)


WHITE, BLUE, BLACK, GREY = (238, 236, 230), (30, 40, 140), (25, 25, 30), (120, 120, 125)
SCENES: dict[str, Scene] = {
    "lamplight": lambda g, r: photo(r, WHITE, (put(g), BLACK), light=0.25 + 0.75 * lamp(120, 60, 280)),
    "evening, yellow light": lambda g, r: photo(r, (200, 160, 90), (put(g), (60, 40, 30)), light=light(0.4)),
    "faint squared paper, turned 20°": lambda g, r: photo(
        r, WHITE, (lines(40, 2, turn=20), (170, 190, 215)), (put(g), BLUE), light=light()
    ),
    "dark squared paper, turned 20°": lambda g, r: photo(
        r, WHITE, (lines(90, 3, turn=20), (60, 60, 110)), (put(g), BLUE), light=light()
    ),
    "squared paper in the ink's color": lambda g, r: photo(r, WHITE, (lines(60, 3, offset=7), BLACK), (put(g), BLACK)),
    "ball-pen": lambda g, r: photo(r, WHITE, (put(g, pen=0.5), BLUE), light=light()),
    "ball-pen, ruled lines": lambda g, r: photo(
        r, WHITE, (lines(70, 2, both=False, offset=33), (110, 130, 190)), (put(g, pen=0.4), BLUE), light=light()
    ),
    "chalk": lambda g, r: photo(
        r, (52, 70, 60), (put(g) * (0.75 + grain(r, 2, 0.2)).clip(0, 1), (225, 225, 215)), noise=7
    ),
    "chalk, smeared board": lambda g, r: photo(
        r, (45, 48, 50), (0.18 * lamp(420, 300, 120), WHITE), (put(g), (215, 215, 215)), light=light(0.5)
    ),
    "marker on glass": lambda g, r: photo(r, (165, 185, 190) + grain(r, 90, 18)[..., None], (put(g), (20, 70, 40))),
    "whiteboard, glare": lambda g, r: photo(
        r, (205, 208, 210), (put(g), (30, 40, 130)), (0.9 * lamp(560, 90, 45), (255, 255, 255)), light=light(0.7)
    ),
    "fax": lambda g, r: photo(
        r, (255, 255, 255), (put(g) > 0.45, (0, 0, 0)), (r.random((HEIGHT, WIDTH)) < 0.002, 0), noise=0
    ),
    "stamp beside the digit": lambda g, r: photo(
        r,
        WHITE,
        (put(g, 200, (60, 120)), BLUE),
        (np.maximum(shape("ellipse", (400, 150, 580, 330), 6), text("PAID", (440, 222), 40)), (190, 60, 60)),
    ),
    "cut at the edge": lambda g, r: photo(r, WHITE, (put(g, 260, (-95, 110)), BLACK), light=light()),
    "pencil on recycled paper": lambda g, r: photo(
        r, (190, 182, 165) + grain(r, 2.5, 7)[..., None], (0.6 * put(g, pen=0.6), GREY), light=light(), noise=5
    ),
    "neon in the dark": lambda g, r: photo(
        r,
        (14, 12, 22),
        (
            0.55 * levels(Image.fromarray((255 * put(g)).astype(np.uint8)).filter(ImageFilter.GaussianBlur(14))),
            (255, 40, 120),
        ),
        (put(g), (255, 190, 220)),
        noise=6,
    ),
    "shadow of a phone": lambda g, r: photo(
        r, WHITE, (put(g), BLACK), light=1 - 0.5 * shape("rectangle", (250, 200, 700, 600), turn=14)
    ),
    "JPEG at quality 10": lambda g, r: jpeg(photo(r, WHITE, (put(g), BLUE), light=light()), 10),
    "coffee stain": lambda g, r: photo(
        r, WHITE, (0.45 * shape("ellipse", (250, 60, 560, 370), 14), (150, 100, 50)), (put(g), BLACK), light=light()
    ),
    "torn paper": lambda g, r: (lambda p: photo(r, (95, 65, 45), (p, WHITE), (put(g, at=(260, 120)), BLACK)))(torn(r)),
    "a form with printed words": lambda g, r: photo(
        r,
        WHITE,
        (text("Number of persons:", (20, 40), 34), BLACK),
        (text("(please write clearly)", (20, 430), 24), BLACK),
        (put(g, 200, (330, 130)), BLUE),
    ),
    "a form's box": lambda g, r: photo(r, WHITE, (shape("rectangle", (190, 110, 450, 370), 3), BLACK), (put(g), BLUE)),
    "a form's box, with its words": lambda g, r: photo(
        r,
        WHITE,
        (np.maximum(shape("rectangle", (190, 110, 450, 370), 4), text("Quantity", (190, 70), 30)), BLACK),
        (put(g), BLUE),
        light=light(),
    ),
    "a cell of a sudoku": lambda g, r: photo(
        r, WHITE, (lines(290, 5, offset=100 - 480 % 290 + 285), BLACK), (put(g, 220, (230, 110)), BLUE), light=light()
    ),
    "comb fields": lambda g, r: photo(
        r,
        WHITE,
        (shape("rectangle", (0, 365, 640, 369)), BLACK),
        *((shape("rectangle", (x, 300, x + 4, 366)), BLACK) for x in (170, 450)),
        (put(g), BLUE),
    ),
    "screenshot with axes": lambda g, r: photo(
        r,
        (255, 255, 255),
        (np.maximum(shape("rectangle", (120, 30, 122, 420)), shape("rectangle", (120, 418, 600, 420))), BLACK),
        *((text(str(k), (85, 390 - 70 * k), 20), BLACK) for k in range(5)),
        *((text(str(k), (140 + 100 * k, 430), 20), BLACK) for k in range(5)),
        (put(g), BLACK),
        noise=0,
    ),
    "screenshot of a plot, light on black": lambda g, r: photo(
        r,
        (255, 255, 255),
        (shape("rectangle", (160, 60, 500, 400)), (0, 0, 0)),
        *((text(str(5 * k), (125, 370 - 70 * k), 20), BLACK) for k in range(5)),
        (put(g, 300, (180, 80)), (255, 255, 255)),
        noise=0,
    ),
    "a circle around it": lambda g, r: photo(
        r, WHITE, (shape("ellipse", (150, 70, 490, 410), 7), (180, 40, 40)), (put(g), BLACK)
    ),
    "underlined": lambda g, r: photo(
        r, WHITE, (shape("rectangle", (170, 385, 470, 391), turn=2), BLUE), (put(g), BLUE)
    ),
    "two-colored paper": lambda g, r: photo(
        r, WHITE, (shape("rectangle", (-100, 250, 800, 600)), (190, 205, 225)), (put(g), BLACK), light=light()
    ),
    "highlighter": lambda g, r: photo(
        r, WHITE, (0.8 * shape("rectangle", (150, 150, 500, 330), turn=-4), (250, 240, 80)), (put(g), BLACK)
    ),
    "receipt": lambda g, r: photo(
        r,
        (225, 225, 228),
        *((text("TOTAL        12.80", (30, 20 + 40 * k), 26), (120, 120, 130)) for k in (0, 1, 9, 10)),
        (put(g), BLUE),
        light=light(),
    ),
    "sheet of paper on a dark table": lambda g, r: photo(
        r, (60, 45, 35), (shape("rectangle", (110, 60, 540, 430), turn=8), WHITE), (put(g), BLACK), light=light()
    ),
    "sticky note on a white wall": lambda g, r: photo(
        r, WHITE, (shape("rectangle", (130, 60, 520, 430), turn=-5), (245, 215, 90)), (put(g), BLACK), light=light()
    ),
    "wrinkled paper": lambda g, r: photo(r, WHITE + grain(r, 45, 14)[..., None], (put(g), BLACK), light=light()),
    "blurred": lambda g, r: photo(r, WHITE, (put(g), BLACK)).filter(ImageFilter.GaussianBlur(9)),
    "almost no contrast": lambda g, r: photo(r, (205, 205, 205), (put(g), (184, 184, 184)), noise=1),
    "two digits": lambda g, r: photo(r, WHITE, (put(g, 200, (90, 140)), BLACK), (put(g, 200, (350, 140)), BLACK)),
    "two digits that touch": lambda g, r: photo(
        r,
        WHITE,
        (put(g, 220, (110, 130)), BLACK),
        (put(g, 220, (300, 130)), BLACK),
        (shape("rectangle", (200, 236, 430, 252)), BLACK),
    ),
    "far away, on a large page": lambda g, r: photo(r, WHITE, (put(g, 60, (420, 80)), BLACK), light=light()),
}
