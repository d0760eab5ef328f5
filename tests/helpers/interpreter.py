"""Triton's interpreter as the tests need it; import this before the kernels are launched.

Triton 3.6 converts the bounds of a loop in a way that NumPy 2.4 refuses (later versions do not), and prepares the
language anew at each call of a function, which takes most of the time: once a kernel is enough.
"""

from __future__ import annotations

from triton.runtime import interpreter

_patch_tensor = interpreter._patch_lang_tensor
_call = interpreter.InterpretedFunction.__call__


def _patch_tensor_with_index(tensor, scope):
    _patch_tensor(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())


def _call_at_once(self, *arguments, **options):
    if self.fn.__module__.startswith("triton."):  # has a language module of its own
        return _call(self, *arguments, **options)
    return self.rewrite()(*arguments, **options)


interpreter._patch_lang_tensor = _patch_tensor_with_index
interpreter.InterpretedFunction.__call__ = _call_at_once
