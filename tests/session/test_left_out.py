from napari_stomics.session.left_out import LeftOut


def test_names_are_added_used_again_and_told_of():
    left, heard = LeftOut(), []
    left.changed.connect(lambda: heard.append(left.text))
    left.add("image", ["a", "b"])
    left.add("image", ["b", "c"])
    left.add("protein", ["p"])
    left.remove("image", ["a"])
    assert left.of("image") == ("b", "c")
    assert left.text == "b, c, p"
    assert heard == ["a, b", "a, b, c", "a, b, c, p", "b, c, p"]
    left.add("image", ["b"])
    assert len(heard) == 4
    left.clear()
    assert left.text == ""
