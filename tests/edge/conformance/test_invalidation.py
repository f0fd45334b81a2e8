"""What unsafe requests make untrue: RFC 9111 §4.4, and the groups of RFC 9875."""

from __future__ import annotations

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import answer
from tests.edge.conformance.site import Site

HOUR = "Cache-Control: max-age=3600"
UNSAFE = pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FOO", "PROPPATCH"])


@UNSAFE
@pytest.mark.parametrize("status", [200, 201, 202, 204, 301, 303])
@shows("9111/4.4-1", "9111/4-6", "9110/9.1-1")
def test_a_success_invalidates_the_target(site: Site, method: str, status: int) -> None:
    page = site.holding(HOUR)
    assert page.ask(method, answer=answer(status=status), body=b"abc").fetched().status == status
    page.get(answer=answer(HOUR)).fetched()
    page.get().hit()


@UNSAFE
@pytest.mark.parametrize("status", [400, 404, 412, 500, 503])
@shows("9111/4.4-4", "9111/4-6")
def test_an_error_does_not(site: Site, method: str, status: int) -> None:
    page = site.holding(HOUR)
    assert page.ask(method, answer=answer(status=status), body=b"abc").status == status
    assert len(page.asked) == 2
    page.get().hit()


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
@shows("9110/9.2.1-1")
def test_a_safe_method_does_not(site: Site, method: str) -> None:
    page = site.holding(HOUR)
    page.ask(method, answer=answer(HOUR))
    page.get().hit()


@shows("9111/4.4-1")
def test_all_variants_go(site: Site) -> None:
    page = site.page()
    for value in "12":
        page.get(f"Foo: {value}", answer=answer(HOUR, "Vary: Foo"))
    page.ask("POST", "Foo: 3", answer=answer(), body=b"")
    for value in "12":
        page.get(f"Foo: {value}", answer=answer(HOUR, "Vary: Foo")).fetched()


@UNSAFE
@pytest.mark.parametrize("field", ["Location", "Content-Location"])
@shows("9111/4.4-2")
def test_targets_that_the_answer_names_go_too(site: Site, method: str, field: str) -> None:
    page, other = site.page(), site.holding(HOUR)
    page.ask(method, answer=answer(f"{field}: {other.target}"), body=b"abc")
    other.get(answer=answer(HOUR)).fetched()


@pytest.mark.parametrize("field", ["Location", "Content-Location"])
@pytest.mark.parametrize(
    "form",
    [
        "http://shop.example{}",
        "HTTP://SHOP.example{}",
        "http://shop.example:80{}",
        "//shop.example{}",
        "{}#part",
        "..{}",
        "./..{}",
    ],
)
@shows("9111/4.4-2")
def test_they_are_found_in_any_form_of_reference(site: Site, field: str, form: str) -> None:
    page, other = site.page("/a"), site.holding(HOUR)
    page.ask("POST", answer=answer(f"{field}: {form.format(other.target)}"), body=b"abc")
    other.get(answer=answer(HOUR)).fetched()


@pytest.mark.parametrize("field", ["Location", "Content-Location"])
@pytest.mark.parametrize(
    "form",
    [
        "http://other.example{}",
        "//other.example{}",
        "http://shop.example:81{}",
        "https://shop.example{}",
        "http://sub.shop.example{}",
    ],
)
@shows("9111/4.4-3")
def test_targets_of_another_origin_stay(site: Site, field: str, form: str) -> None:
    host = form.partition("//")[2].partition("{")[0]
    page, other = site.page(), site.page(host=host)
    other.get(answer=answer(HOUR)).fetched()
    mine = site.holding(HOUR)
    page.ask("POST", answer=answer(f"{field}: {form.format(other.target)}"), body=b"abc")
    other.get().hit()
    page.ask("POST", answer=answer(f"{field}: {form.format(mine.target)}"), body=b"abc")
    mine.get().hit()


@shows("9111/4.4-4", "9111/4.4-2")
def test_an_error_leaves_what_it_names(site: Site) -> None:
    page, other = site.page(), site.holding(HOUR)
    page.ask("POST", answer=answer(f"Location: {other.target}", status=500), body=b"abc")
    other.get().hit()


@pytest.mark.parametrize(
    "value", ["", "http://", "http://[", "\x80", "::::", "http://shop.example:99999999/x"]
)
@shows("9111/4.4-2", "9111/4.4-1")
def test_a_location_that_is_none_does_no_harm(site: Site, value: str) -> None:
    page = site.holding(HOUR)
    assert page.ask("POST", answer=answer(f"Location: {value}"), body=b"abc").status == 200
    page.get(answer=answer(HOUR)).fetched()


@shows("9111/4.4-2")
def test_a_location_of_a_safe_method_invalidates_nothing(site: Site) -> None:
    page, other = site.page(), site.holding(HOUR)
    page.get(answer=answer(f"Location: {other.target}", f"Content-Location: {other.target}"))
    other.get().hit()


# -- groups ----------------------------------------------------------------------------------------------------------


def names(page_target: str, *groups: str) -> str:
    """A value of names that no other test has."""
    return ", ".join(f'"{group}{page_target}"' for group in groups)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "FOO"])
@shows("9875/3-2")
def test_an_unsafe_answer_invalidates_the_groups_it_names(site: Site, method: str) -> None:
    page = site.page()
    mine, other = site.page(), site.page()
    mine.get(answer=answer(HOUR, f"Cache-Groups: {names(page.target, 'a', 'b')}"))
    other.get(answer=answer(HOUR, f"Cache-Groups: {names(page.target, 'c')}"))
    page.ask(method, answer=answer(f"Cache-Group-Invalidation: {names(page.target, 'x', 'b')}"), body=b"")
    mine.get(answer=answer(HOUR)).fetched()
    other.get().hit()


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@shows("9875/3-1")
def test_a_safe_answer_does_not(site: Site, method: str) -> None:
    page, mine = site.page(), site.page()
    mine.get(answer=answer(HOUR, f"Cache-Groups: {names(page.target, 'a')}"))
    page.ask(method, answer=answer(f"Cache-Group-Invalidation: {names(page.target, 'a')}"))
    mine.get().hit()


@shows("9875/2.1-1")
def test_groups_are_compared_by_case(site: Site) -> None:
    page, mine = site.page(), site.page()
    mine.get(answer=answer(HOUR, f"Cache-Groups: {names(page.target, 'Abc')}"))
    page.ask("POST", answer=answer(f"Cache-Group-Invalidation: {names(page.target, 'aBC', 'abc')}"), body=b"")
    mine.get().hit()


@shows("9875/2.1-1")
def test_groups_of_another_origin_are_other_groups(site: Site) -> None:
    page, mine = site.page(), site.page(host="other.example")
    mine.get(answer=answer(HOUR, f"Cache-Groups: {names(page.target, 'a')}"))
    page.ask("POST", answer=answer(f"Cache-Group-Invalidation: {names(page.target, 'a')}"), body=b"")
    mine.get().hit()


@shows("9875/2-1", "9875/3-3")
def test_thirty_two_groups_of_thirty_two_characters(site: Site) -> None:
    page, mine = site.page(), site.page()
    groups = [f"{number:02}{page.target}".ljust(32, "x") for number in range(32)]
    listed = ", ".join(f'"{group}"' for group in groups)
    mine.get(answer=answer(HOUR, f"Cache-Groups: {listed}"))
    page.ask("POST", answer=answer(f'Cache-Group-Invalidation: "{groups[31]}"'), body=b"")
    mine.get(answer=answer(HOUR, f'Cache-Groups: "{groups[31]}"')).fetched()
    page.ask("POST", answer=answer(f"Cache-Group-Invalidation: {listed}"), body=b"")
    mine.get(answer=answer(HOUR)).fetched()


@shows("9875/2-2")
def test_parameters_of_groups_are_ignored(site: Site) -> None:
    page, mine = site.page(), site.page()
    mine.get(answer=answer(HOUR, f"Cache-Groups: {names(page.target, 'a')};revalidate;x=1"))
    page.ask("POST", answer=answer(f'Cache-Group-Invalidation: {names(page.target, "a")};y="z"'), body=b"")
    mine.get(answer=answer(HOUR)).fetched()


@pytest.mark.parametrize("value", ["{0}", '"{0}', '"{0}" "b"', '{0}, "{0}"', '"{0}",', "?1"])
@shows("9875/2-2")
def test_a_field_that_is_no_list_of_strings_names_no_group(site: Site, value: str) -> None:
    page, mine = site.page(), site.page()
    group = f"a{page.target}"
    mine.get(answer=answer(HOUR, f'Cache-Groups: "{group}"'))
    page.ask("POST", answer=answer(f"Cache-Group-Invalidation: {value.format(group)}"), body=b"")
    mine.get().hit()


@shows("9875/2.2.1-1")
def test_what_is_invalidated_takes_its_groups_with_it_but_not_theirs(site: Site) -> None:
    page, friend, far = site.page(), site.page(), site.page()
    page.get(answer=answer(HOUR, f"Cache-Groups: {names(page.target, 'a')}"))
    friend.get(answer=answer(HOUR, f"Cache-Groups: {names(page.target, 'a', 'b')}"))
    far.get(answer=answer(HOUR, f"Cache-Groups: {names(page.target, 'b')}"))
    page.ask("POST", answer=answer(), body=b"")
    page.get(answer=answer(HOUR)).fetched()
    friend.get(answer=answer(HOUR)).fetched()
    far.get().hit()
