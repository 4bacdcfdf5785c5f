"""The small configs that own the keys of a run's sections, one file a section."""

from swift.core.config.base import Config
from swift.core.config.schema.data import DataConfig
from swift.core.config.schema.device import DeviceConfig
from swift.core.config.schema.evaluate import BenchmarkConfig, EvalConfig, JudgeConfig, LoadTestConfig
from swift.core.config.schema.export import ExportConfig
from swift.core.config.schema.infer import InferConfig, SampleConfig
from swift.core.config.schema.model import ModelConfig
from swift.core.config.schema.plugins import PluginItem, PluginsConfig
from swift.core.config.schema.server import ServerConfig
from swift.core.config.schema.train import CheckpointConfig, LoggingConfig, LoopConfig, OptimConfig
from swift.core.config.schema.types import Fraction, Names, NonNegative, Share

__all__ = [
    "BenchmarkConfig",
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "DeviceConfig",
    "EvalConfig",
    "ExportConfig",
    "Fraction",
    "InferConfig",
    "JudgeConfig",
    "LoadTestConfig",
    "LoggingConfig",
    "LoopConfig",
    "ModelConfig",
    "Names",
    "NonNegative",
    "OptimConfig",
    "PluginItem",
    "PluginsConfig",
    "SampleConfig",
    "ServerConfig",
    "Share",
]
