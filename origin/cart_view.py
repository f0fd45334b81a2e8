"""What the pages of login and cart say about one client: HTML made for each request.

Decides words and markup. Must not know requests, or where sessions are kept. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from origin.cart import Refusal, Session
from origin.items import Item

Words = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class View:
    """Who answers, and in which words: the `session` of words.json, a sentence for each Refusal among them."""

    words: Words
    server: str
    clustered: bool
    suffix: str
    """What links keep: `?lang=ko` or nothing."""

    def say(self, name: str, **values: object) -> str:
        """The words called `name`, filled in and escaped."""
        shown = {key: f"<b>{escape(str(value))}</b>" for key, value in values.items()}
        return escape(self.words[name]).format(**shown)

    @property
    def kept(self) -> str:
        """Where this server keeps sessions."""
        return self.say("clustered" if self.clustered else "local", server=self.server)


def refused(view: View, refusal: Refusal | None) -> str:
    """Why the last thing was not done; nothing if it was."""
    if refusal is None:
        return ""
    return f'<p class="note" role="alert" id="refused">{view.say(refusal)}</p>'


def login(view: View, session: Session | None, refusal: Refusal | None) -> str:
    """Above the form: whether somebody is logged in here, or why nobody is, and where sessions lie."""
    who = ""
    if session is not None:
        to_cart = f'<a href="/cart{view.suffix}">{view.say("to_cart")}</a>'
        who = f'<p id="who">{view.say("who", user=session.user, server=view.server)} {to_cart}</p>'
    return f'{refused(view, refusal)}{who}<p id="kept">{view.kept}</p>'


def cart(view: View, session: Session, goods: list[Item], refusal: Refusal | None) -> str:
    """Who is logged in, what lies in the cart, and what can be put in."""
    names = {int(str(item["id"])): str(item["name"]) for item in goods}
    rows = "".join(_row(view, names, number, count) for number, count in sorted(session.cart.items()))
    return (
        f'{refused(view, refusal)}<p id="who">{view.say("who", user=session.user, server=view.server)} '
        f'<span id="kept">{view.kept}</span></p>'
        f'<div class="panel"><table id="cart"><caption>{view.say("cart", n=session.pieces)}</caption>'
        f"<tbody>{rows}</tbody></table>"
        f'<div class="row" id="shelf">{"".join(_good(view, item) for item in goods)}</div>'
        f"{_form(view, '/logout', {}, view.say('log_out'), 'quiet')}</div>"
    )


def _row(view: View, names: Mapping[int, str], number: int, count: int) -> str:
    name = escape(names.get(number, f"{number}"))
    take = _form(view, "/cart", {"take": str(number)}, view.say("take"), "quiet")
    return f'<tr data-item="{number}"><th scope="row">{name}</th><td>{count}</td><td>{take}</td></tr>'


def _good(view: View, item: Item) -> str:
    return _form(view, "/cart", {"item": str(item["id"])}, escape(f"+ {item['name']}"), "")


def _form(view: View, path: str, hidden: Mapping[str, str], label: str, style: str) -> str:
    inputs = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in hidden.items()
    )
    look = f' class="{style}"' if style else ""
    return f'<form method="post" action="{path}{view.suffix}">{inputs}<button{look}>{label}</button></form>'
