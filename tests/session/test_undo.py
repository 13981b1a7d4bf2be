from napari_stomics.session.undo import Action, UndoStack


def _counter_action(values: list[int], amount: int, text: str = "") -> Action:
    return Action(
        text or f"+{amount}", lambda: values.append(-amount), lambda: values.append(amount)
    )


def test_undo_and_redo_run_in_order():
    values: list[int] = []
    stack = UndoStack()
    for amount in (1, 2):
        stack.push(_counter_action(values, amount))
    assert [stack.undo(), stack.undo(), stack.undo()] == ["+2", "+1", ""]
    assert [stack.redo(), stack.redo(), stack.redo()] == ["+1", "+2", ""]
    assert values == [-2, -1, 1, 2]


def test_a_new_action_forgets_what_was_undone():
    stack = UndoStack()
    stack.push(_counter_action([], 1))
    stack.undo()
    stack.push(_counter_action([], 2))
    assert stack.redo() == ""
    assert stack.undo_text == "+2"


def test_a_group_is_one_step_and_is_undone_last_first():
    values: list[int] = []
    stack = UndoStack()
    with stack.group("both"):
        stack.push(_counter_action(values, 1))
        stack.push(_counter_action(values, 2))
    assert stack.undo() == "both"
    assert values == [-2, -1]
    assert stack.undo() == ""


def test_an_empty_group_leaves_nothing_to_undo():
    stack = UndoStack()
    with stack.group("nothing"):
        pass
    assert stack.undo_text == ""


def test_clean_follows_the_saved_state_through_undo_and_redo():
    stack = UndoStack()
    assert stack.is_clean
    stack.push(_counter_action([], 1))
    assert not stack.is_clean
    stack.mark_clean()
    stack.undo()
    assert not stack.is_clean
    stack.redo()
    assert stack.is_clean


def test_a_saved_state_that_was_undone_and_overwritten_is_never_clean_again():
    stack = UndoStack()
    stack.push(_counter_action([], 1))
    stack.mark_clean()
    stack.undo()
    stack.push(_counter_action([], 2))
    assert not stack.is_clean
    stack.undo()
    assert not stack.is_clean
