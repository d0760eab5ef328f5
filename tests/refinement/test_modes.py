from __future__ import annotations

import pytest

from shape3d_amodal.errors import UsageError
from shape3d_amodal.refinement.modes import check_learned, check_refine, default_refine


@pytest.mark.parametrize("refine", ["none", "visible-union", "2d", "full"])
def test_what_there_is(refine: str) -> None:
    check_refine(refine)


@pytest.mark.parametrize("refine", ["fulll", "", None, 2])
def test_anything_else_is_named(refine: object) -> None:
    with pytest.raises(UsageError, match=f"refine: expected none, visible-union, 2d, full, got {refine!r}"):
        check_refine(refine)


def test_weights_do_by_default_what_they_have_learned() -> None:
    assert default_refine(()) == "2d"
    assert default_refine(("bank",)) == "full"


def test_priors_that_weights_have_not_learned_to_use() -> None:
    check_learned(["bank"], ["learned", "bank"])
    check_learned([], ["bank"])
    with pytest.raises(UsageError, match=r"priors: .* has not learned to use learned; take bank"):
        check_learned(["bank", "learned"], ["bank"])
    with pytest.raises(UsageError, match=r"refine: .* has learned to use no prior"):
        check_learned([], [])
