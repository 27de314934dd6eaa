"""report.html: a self-contained page about a run."""

import base64
from pathlib import Path
from string import Template
from typing import Any

import yaml

from lenet_pl.display.text import as_bdi, as_html
from lenet_pl.errors import printable
from lenet_pl.runtime.atomic_files import write_text

PICTURES = ("curves", "confusion_matrix", "misclassified", "filters", "feature_maps", "samples", "augmentation")
FRAME = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
img { max-width: 100%; background: white }
table { border-collapse: collapse }
td, th { padding: .15rem 1rem .15rem 0; vertical-align: top; text-align: left }
pre { overflow-x: auto; padding: 1rem; border: 1px solid color-mix(in srgb, currentColor 30%, transparent) }
</style>
<h1>$title</h1>
$content</html>
""")
RUN = Template("""<table>$rows</table>
$embedded
<h2>Command</h2><pre>$command</pre>
<h2>Settings</h2><pre>$settings</pre>
<h2>Environment</h2><pre>$environment</pre>
""")


def write_page(file: Path, title: str, content: str) -> None:
    """Write a self-contained page.

    Args:
        file: The file to write.
        title: Title and heading as plain text.
        content: The HTML below the heading, with user text escaped.
    """
    write_text(file, FRAME.substitute(title=as_html(title), content=content))


def embed_picture(file: Path) -> str:
    """Return a PNG file as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"


def write_report(folder: Path, results: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write `report.html` from the results, the settings and the figures in the folder.

    Args:
        folder: The run folder, with the figures as PNG files.
        results: The content of results.json.
        settings: The content of config.yaml.
    """
    metrics = results["metrics"]
    # Names and values are HTML, with user text escaped
    figures: dict[str, str] = {as_html(name): f"{value:.4f}" for name, value in metrics.items()}
    for name in ("parameters", "epochs", "best_epoch", "training_seconds", "images_per_second"):
        figures[name.replace("_", " ")] = f"{results[name]:,}" if results[name] is not None else "–"
    for part, count in results["images"].items():
        figures[f"{part} images"] = f"{count:,}"
    if pair := results["most_confused"]:
        figures["most confused"] = f"{' and '.join(map(as_bdi, pair['classes']))}, {pair['count']} times"
    for name, value in (results["per_class_accuracy"] or {}).items():
        figures[f"test/accuracy of {as_bdi(name)}"] = "–" if value is None else f"{value:.4f}"
    if notes := results.get("notes"):
        figures["note"] = " ".join(f"{as_html(note)}." for note in notes)
    rows = "".join(f"<tr><td>{k}<td>{v}" for k, v in figures.items())
    pictures = {name: folder / f"{name}.png" for name in PICTURES}
    embedded = "".join(
        f'<h2>{name.replace("_", " ").capitalize()}</h2><img alt="{name}" src="{embed_picture(file)}">\n'
        for name, file in pictures.items()
        if file.exists()
    )
    environment = {k: results[k] for k in ("device", "threads", "cores", "versions", "git_commit")}
    content = RUN.substitute(
        rows=rows,
        embedded=embedded,
        command=as_html(results["command"]),
        settings=as_html(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)),
        environment=as_html(yaml.safe_dump(environment, sort_keys=False)),
    )
    title = f"{results['model']} on {printable(results['data'])}, seed {results['seed']}"
    write_page(folder / "report.html", title, content)
