"""Attention of one new token a row over keys and values in pages.

Shapes: B rows, H query heads, K key heads (H a multiple), D and E sizes of a key and a value; P pages of S
tokens, W pages of the longest row. Token t of row b lies in page table[b, t // S] at t % S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from swift.kernels._implementation import Implementation, use_native

if TYPE_CHECKING:
    import torch


class _Tensors(NamedTuple):
    """The arguments of paged_attention() that are tensors, in its order: five of floats, two of integers."""

    query: torch.Tensor
    new_key: torch.Tensor
    new_value: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    table: torch.Tensor
    lengths: torch.Tensor


def paged_attention(
    query: torch.Tensor,
    new_key: torch.Tensor,
    new_value: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
    *,
    scale: float,
    window: int = 0,
    implementation: Implementation = "auto",
) -> torch.Tensor:
    """softmax(scale q k^T) v of every row over its own tokens, the new one included; without gradients.

    Writes the new key and value into their page first. No row pays for the length of another one, as with
    rows padded to the longest.

    Args:
        query: [B, H, D]; new_key: [B, K, D]; new_value: [B, K, E].
        keys: [P, K, S, D]; values: [P, K, S, E]; both are changed.
        table: int32 [B, W]; lengths: int64 [B], tokens before the new one.
        scale: of the products.
        window: the latest tokens that are seen, the new one included; 0: all.
        implementation: native code takes float32 on the CPU; "auto" leaves everything else to torch.

    Returns:
        [B, H, E].

    Raises:
        ValueError: shapes that do not fit, a row that its pages do not hold, or "native" for other tensors.
        RuntimeError: "native" was asked for and is not installed.
    """
    given = _Tensors(query, new_key, new_value, keys, values, table, lengths)
    _check(given)
    native = use_native("paged_attention", implementation)
    takes = all(one.device.type == "cpu" and str(one.dtype) == "torch.float32" for one in given[:5])
    if implementation == "native" and not takes:
        raise ValueError(
            f"paged_attention: the tensors are {query.dtype} on {query.device}, native code takes float32 on "
            "the CPU; pass implementation='auto'"
        )
    if native and takes:
        return _native(given, scale, window)
    return _reference(given, scale, window)


def _check(given: _Tensors) -> None:
    query, new_key, new_value, keys, values, table, lengths = given
    rows, heads, size = query.shape
    pages, key_heads, page, _ = keys.shape
    fits = (
        new_key.shape == (rows, key_heads, size)
        and new_value.shape == (rows, key_heads, values.shape[-1])
        and keys.shape == (pages, key_heads, page, size)
        and values.shape[:3] == keys.shape[:3]
        and heads % key_heads == 0
        and table.shape[0] == lengths.shape[0] == rows
        and str(table.dtype) == "torch.int32"
        and str(lengths.dtype) == "torch.int64"
        and keys.is_contiguous()
        and values.is_contiguous()
    )
    if not fits:
        shapes = [list(one.shape) for one in given]
        raise ValueError(
            f"paged_attention: shapes {shapes} do not fit; see the docstring for query, new_key, new_value, "
            "keys, values, table (int32), lengths (int64)"
        )
    if rows and not 0 <= int(lengths.min()) <= int(lengths.max()) < table.shape[1] * page:
        raise ValueError(
            f"paged_attention: {table.shape[1]} pages of {page} tokens cannot hold a row of "
            f"{int(lengths.max()) + 1} tokens; give it more pages"
        )
    if rows and not 0 <= int(table.min()) <= int(table.max()) < pages:
        raise ValueError(
            f"paged_attention: the table names page {int(table.max())}, there are {pages}; "
            "fill unused entries with 0"
        )


def _native(given: _Tensors, scale: float, window: int) -> torch.Tensor:
    import torch

    from swift.kernels import _native

    rows, heads, size = given.query.shape
    _, key_heads, page, value_size = given.values.shape
    # names keep what contiguous() made alive until the call has returned; keys and values are so already
    query, new_key, new_value, keys, values, table, lengths = (one.contiguous() for one in given)
    out = torch.empty(rows, heads, value_size)
    _native.paged_attention(
        (query.data_ptr(), new_key.data_ptr(), new_value.data_ptr(), out.data_ptr()),
        (keys.data_ptr(), values.data_ptr(), table.data_ptr(), lengths.data_ptr()),
        (rows, heads, key_heads, size, value_size, page, table.shape[1], window),
        scale,
        torch.get_num_threads(),
    )
    return out


def _reference(given: _Tensors, scale: float, window: int) -> torch.Tensor:
    import torch

    query, new_key, new_value, keys, values, table, lengths = given
    key_heads, page = keys.shape[1:3]
    own = table.gather(1, (lengths // page)[:, None])[:, 0].long()
    keys[own, :, lengths % page] = new_key
    values[own, :, lengths % page] = new_value

    def gathered(pool: torch.Tensor) -> torch.Tensor:  # [B, K, W S, size]
        return pool[table.long()].transpose(1, 2).flatten(2, 3)

    columns = torch.arange(table.shape[1] * page, device=query.device)
    seen = columns <= lengths[:, None]
    if window:
        seen &= columns > (lengths - window)[:, None]
    grouped = query.reshape(query.shape[0], key_heads, -1, query.shape[2])
    output = torch.nn.functional.scaled_dot_product_attention(
        grouped, gathered(keys), gathered(values), attn_mask=seen[:, None, None], scale=scale
    )
    return output.flatten(1, 2)
