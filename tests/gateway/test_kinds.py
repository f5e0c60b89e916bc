"""What a caller is told who names a model at the path of another kind."""

from __future__ import annotations

from junctor.gateway.kinds import not_here


def test_a_model_for_embeddings_is_shown_its_path() -> None:
    error = not_here("chat", "vectors", ["a"], is_elsewhere=True)
    assert error is not None
    assert error.message == "`vectors` makes embeddings, and does not chat: ask it at /v1/embeddings"
    assert not_here("chat", "nobody", ["a"], is_elsewhere=False) is None


def test_a_model_that_chats_is_told_from_those_that_make_embeddings() -> None:
    error = not_here("embeddings", "haiku", ["vectors"], is_elsewhere=True)
    assert error is not None
    assert error.message == "`haiku` chats, and makes no embeddings; these do: vectors"


def test_where_nothing_makes_embeddings_it_says_how_to_have_them() -> None:
    for is_elsewhere in (True, False):
        error = not_here("embeddings", "haiku", [], is_elsewhere=is_elsewhere)
        assert error is not None
        assert error.message.endswith('add a [[models]] with kind = "embeddings" to junctor.toml')
    assert not_here("embeddings", "vectrs", ["vectors"], is_elsewhere=False) is None, "a typing error"
