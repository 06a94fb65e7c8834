import pytest

from colourgan.errors import UsageError
from colourgan.registry import Registry


@pytest.fixture
def fruits():
    fruits = Registry("fruit")
    for name in ("cherry", "apple", "banana"):
        fruits.register(name)(name.upper)
    return fruits


def test_entries_are_found_in_the_order_of_their_registration(fruits):
    assert list(fruits) == ["cherry", "apple", "banana"]
    assert fruits["apple"]() == "APPLE"
    assert "apple" in fruits and "pear" not in fruits


def test_the_decorator_returns_what_it_registers(fruits):
    def plum():
        return "plum"

    assert fruits.register("plum")(plum) is plum is fruits["plum"]


def test_a_wrong_name_is_answered_with_the_nearest_and_all_choices(fruits):
    with pytest.raises(UsageError) as caught:
        fruits["aple"]
    message = "unknown fruit 'aple': did you mean 'apple'? choices: cherry, apple, banana"
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["", "zzz", "a much longer name than any there is"])
def test_a_name_like_no_other_is_answered_with_the_choices_alone(fruits, name):
    with pytest.raises(UsageError) as caught:
        fruits[name]
    assert str(caught.value) == f"unknown fruit '{name}': choices: cherry, apple, banana"


def test_looking_for_a_wrong_name_does_not_add_it(fruits):
    assert fruits.get("pear") is None
    with pytest.raises(UsageError):
        fruits["pear"]
    assert len(fruits) == 3


def test_a_name_is_taken_once(fruits):
    with pytest.raises(ValueError, match="fruit 'apple' is registered twice"):
        fruits.register("apple")(str.lower)
    assert fruits["apple"]() == "APPLE"
