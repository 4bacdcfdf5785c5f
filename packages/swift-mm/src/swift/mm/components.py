"""The multimodal families this package offers; loads neither torch nor pillow."""

from __future__ import annotations

from swift.core.registry import Component

tiny_qwen2_5_vl = Component(
    "qwen2.5-vl",
    "swift.mm.families.qwen2_5_vl.tiny:family",
    summary="Qwen2.5-VL, a vision tower before Qwen2",
)

qwen2_5_vl = Component(
    "qwen2_5_vl",
    "swift.mm.families.qwen2_5_vl.media:Qwen25VLMedia",
    summary="images of Qwen2-VL and Qwen2.5-VL",
)
