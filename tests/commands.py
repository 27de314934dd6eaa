"""All commands with their settings classes, for tests that iterate over them."""

from lenet_pl import __main__ as package
from lenet_pl.settings import Settings, TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.settings.compare import CompareSettings
from lenet_pl.settings.datasets import DatasetsSettings
from lenet_pl.settings.demo import DemoSettings
from lenet_pl.settings.diagnose import DiagnoseSettings
from lenet_pl.settings.evaluate import EvaluateSettings
from lenet_pl.settings.explain import ExplainSettings
from lenet_pl.settings.export import ExportSettings
from lenet_pl.settings.inspect import InspectSettings
from lenet_pl.settings.lab import LabSettings
from lenet_pl.settings.predict import PredictSettings
from lenet_pl.settings.search import SearchSettings

KINDS: dict[str, type[Settings]] = {
    "train": TrainSettings,
    "benchmark": BenchmarkSettings,
    "compare": CompareSettings,
    "datasets": DatasetsSettings,
    "demo": DemoSettings,
    "diagnose": DiagnoseSettings,
    "evaluate": EvaluateSettings,
    "explain": ExplainSettings,
    "export": ExportSettings,
    "inspect": InspectSettings,
    "lab": LabSettings,
    "predict": PredictSettings,
    "search": SearchSettings,
}
assert list(KINDS) == list(package.commands()), "a command is missing here"
NEEDED = {"predict": ("images=a.png",)}  # required settings of a command
