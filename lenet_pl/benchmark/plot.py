"""Plot of the rates of the loops."""

from typing import Any

from lenet_pl.display.figure import Figure, styled


@styled
def draw_rates(rows: list[dict[str, Any]]) -> Figure:
    """Draw one bar per row, in the order of the rows, with one color per loop."""
    figure = Figure(figsize=(9, 1 + 0.3 * len(rows)), layout="constrained")
    axis = figure.subplots()
    colors = {loop: f"C{k}" for k, loop in enumerate(dict.fromkeys(row["loop"] for row in rows))}
    for place, row in enumerate(rows):
        middle = row["images_per_second"]
        spread = [[middle - row["smallest"]], [row["largest"] - middle]]
        axis.barh(place, middle, xerr=spread, color=colors[row["loop"]])
    names = [f"{r['model']}, {r['augment']}, {r['batch_size']}: {r['loop']}" for r in rows]
    axis.set_yticks(range(len(rows)), names)
    axis.invert_yaxis()
    axis.set(
        xlabel="training images per second (median; line: smallest to largest)",
        ylabel="model, augmentation, batch size (images): loop",
    )
    axis.xaxis.set_major_formatter("{x:,.0f}")
    return figure
