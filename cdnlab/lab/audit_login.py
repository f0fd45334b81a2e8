"""How a user of an audit logs in: the page of the form first, then the form, then where it leads.

Frameworks put a token into the form and expect it back beside a cookie, so the page is fetched and its hidden inputs go
along, unless the words typed name them. A login that leaves no new cookie has not worked, and an audit of two strangers
who believe that they are users would find nothing: so that is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from cdnlab.lab.audit_leaks import SECRET_LENGTH
from cdnlab.lab.audit_sample import Sample
from cdnlab.lab.audit_way import NO_CACHE, Page, User, Way
from cdnlab.lab.errors import MISUSED, LabError
from cdnlab.wire.fields import is_token, valid_value

MOST_REDIRECTS = 10
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Login:
    """`METHOD PATH BODY`, as typed."""

    method: str
    path: str
    body: str

    @property
    def json(self) -> bool:
        """Whether the body is JSON and no form."""
        return self.body[:1] in "{[" and bool(self.body)

    @property
    def words(self) -> list[str]:
        """The values in a form."""
        return [] if self.json else [value for _, value in parse_qsl(self.body) if value]

    def with_hidden(self, inputs: dict[str, str]) -> bytes:
        """The body with the hidden inputs of the form's page."""
        if self.json:
            return self.body.encode()
        given = parse_qsl(self.body, keep_blank_values=True)
        named = {name for name, _ in given}
        return urlencode(
            [*((name, value) for name, value in inputs.items() if name not in named), *given]
        ).encode()


def parse(text: str, option: str = "--login", example: str = "POST /login user=a&password=b") -> Login:
    """The request in `POST /login user=a&pw=b`. LabError names the option it was given as, and an example."""
    method, _, rest = text.strip().partition(" ")
    path, _, body = rest.strip().partition(" ")
    whole = path[:1] == "/" or urlsplit(path).scheme in ("http", "https")
    sayable = valid_value(path.encode()) and valid_value(body.encode())
    if not (is_token(method.encode("latin-1", "replace")) and whole and sayable):
        raise LabError(
            f"{option} {method} {path}: it is no request",
            f"write such as '{example}'",
            MISUSED,
        )
    return Login(method.upper(), path, body.strip())


async def log_in(user: User, login: Login, way: Way, page: Page) -> None:
    """Log `user` in at the site of `page`, and follow where that leads. LabError if no cookie comes of it."""
    target = moved(page, login.path)
    before = await way.ask(user, target, *NO_CACHE)
    had = user.jar.values()
    body = login.with_hidden(hidden_inputs(before))
    kind = ("Content-Type", "application/json" if login.json else FORM)
    answer = await way.ask(
        user, target, kind, ("Origin", f"{page.scheme}://{page.host}"), method=login.method, body=body
    )
    status = answer.status
    for _ in range(MOST_REDIRECTS):
        location = answer.answer.field("location")
        if not 300 <= answer.status < 400 or not location:
            break
        target = moved(target, location)
        if (target.scheme, target.host) != (page.scheme, page.host):
            break  # another site's pages are none of this audit's
        answer = await way.ask(user, target, *NO_CACHE)
    if status >= 400 or user.jar.values() == had:
        why = f"it was answered {status}" if status >= 400 else "no cookie came of it"
        raise LabError(
            f"{user.name} could not log in by {login.method} {login.path}: {why}",
            "try the form in a browser, and see which fields it sends",
        )
    user.party.given |= set(user.jar.values().items())
    user.party.label = next(iter(login.words), "")
    user.party.secrets |= {word for word in login.words if len(word) >= SECRET_LENGTH}


def moved(page: Page, reference: str) -> Page:
    """The page that a reference on `page` leads to (RFC 3986 §5)."""
    parts = urlsplit(urljoin(page.url, reference))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Page(parts.scheme, parts.netloc, target)


def hidden_inputs(found: Sample) -> dict[str, str]:
    """Name and value of each hidden input of the form in a page: the one with a password, where there are several."""
    if found.status != 200 or "html" not in found.answer.field("content-type"):
        return {}
    reader = _Forms()
    reader.feed(found.body.decode("utf-8", "replace"))
    return next(
        (form.hidden for form in reader.forms if form.password),
        reader.forms[0].hidden if reader.forms else {},
    )


class _Form:
    def __init__(self) -> None:
        self.hidden: dict[str, str] = {}
        self.password = False


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[_Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A form begins, or one of its inputs is here."""
        if tag == "form":
            self.forms.append(_Form())
        if tag != "input" or not self.forms:
            return
        said = {name: value or "" for name, value in attrs}
        kind = said.get("type", "").lower()
        if kind == "hidden" and said.get("name"):
            self.forms[-1].hidden[said["name"]] = said.get("value", "")
        self.forms[-1].password = self.forms[-1].password or kind == "password"
