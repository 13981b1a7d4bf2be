import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.cache import ContentCache, content_key


def test_the_key_is_that_of_the_content_wherever_it_lies():
    a = np.arange(12.0).reshape(3, 4)
    assert content_key(a, "x", 1) == content_key(a.copy(), "x", 1)
    assert content_key(a) == content_key(np.asfortranarray(a))
    assert content_key(sparse.csr_array(a)) == content_key(sparse.csr_array(a.copy()))


@pytest.mark.parametrize(
    "other",
    [
        np.arange(12.0).reshape(4, 3),
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.arange(12.0).reshape(3, 4) + np.eye(3, 4),
    ],
    ids=["shape", "type", "value"],
)
def test_shape_type_and_values_make_another_key(other):
    assert content_key(np.arange(12.0).reshape(3, 4)) != content_key(other)


def test_names_are_compared_by_their_text_and_their_borders():
    assert content_key(np.array(["ab", "c"], object)) != content_key(np.array(["a", "bc"], object))
    assert content_key(("a", 1)) != content_key("a", 1)


def test_an_answer_is_made_once_and_the_oldest_goes_first():
    cache: ContentCache[int] = ContentCache(2)
    made = []

    def make(value: int):
        return lambda: made.append(value) or value

    assert [cache.get("a", make(1)), cache.get("a", make(2))] == [1, 1]
    cache.get("b", make(3))
    cache.get("a", make(4))
    cache.get("c", make(5))
    assert cache.get("a", make(6)) == 1
    assert cache.get("b", make(7)) == 7
    assert made == [1, 3, 5, 7]
    cache.clear()
    assert cache.get("a", make(8)) == 8


def test_nothing_is_kept_of_a_failure():
    cache: ContentCache[int] = ContentCache()

    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("a", fail)
    assert cache.get("a", lambda: 3) == 3
