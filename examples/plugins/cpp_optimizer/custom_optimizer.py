# fmt: off
# ruff: noqa: I001
from swift.plugin import register_optimizer
import custom_optimizer_lib

@register_optimizer("custom_adamw")
def create_custom_adamw(params, **kwargs):
    return custom_optimizer_lib.CustomAdamW(params, **kwargs)
