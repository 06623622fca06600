"""The study as web pages: plain HTML for a phone or a keyboard, also without its script. No cookie, no outside request.

A rater is who has the link /r/TOKEN. It always shows the present trial, so that going back shows no other one. Pictures have
addresses, headers and numbers of bytes that say nothing, and are served for the present trial only.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter, OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.study import assignment
from eval.study.answers_db import Answers, Turn
from eval.study.trials import SHOWN, Config, Study, Trial
from eval.study.visitor_limits import Buckets
from pipeline.core import takedown

if TYPE_CHECKING:
    from flask import Flask

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; form-action 'self'; "
                               "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "X-Robots-Tag": "noindex",
    "Referrer-Policy": "same-origin"}  # no-referrer would also hide the Origin of forms, which is looked at
BODY = 4096  # bytes of a form
SET = "<int(max=1000000):n>"  # in addresses; a larger number is nobody's, and more than SQLite can look for


class Desk:
    """What the pages ask: trials, answers, the take-down list as it is now, and the clock."""

    def __init__(self, study: Study, answers: Answers, config: Config, lists: tuple[Path, ...]) -> None:
        from itsdangerous import Signer

        self.study, self.answers, self.config, self.lists = study, answers, config, lists
        self._signer = Signer(answers.key, salt="form", digest_method=hashlib.sha256)
        self.design = study.manifest["design"]  # the rules that the study was built by, not today's params.yaml
        self._random = random.Random()
        self._valid: tuple[frozenset[str], dict[str, Trial]] = frozenset(), study.trials
        self._since: OrderedDict[tuple[int, str], float] = OrderedDict()  # (rater, trial) -> when its page was first sent

    def trials(self) -> dict[str, Trial]:
        """Those that may be shown: nothing on the take-down list."""
        listed = takedown.read(*self.lists)
        if listed != self._valid[0]:
            self._valid = listed, {name: trial for name, trial in self.study.trials.items() if not trial.listed(listed)}
        return self._valid[1]

    def length(self) -> int:
        """How many trials a rater has before them in all: no scene comes twice."""
        return min(self.config.trials, len({trial.scene for trial in self.trials().values()}))

    def turn(self, rater: int) -> tuple[Turn, Trial] | None:
        """The trial before a rater; None when there is no more."""
        trials = self.trials()

        def pick(mine: list[str], shown: Counter[str]) -> str | None:
            if len(mine) >= self.length():
                return None
            seen = [self.study.trials[name] for name in mine if name in self.study.trials]
            due = assignment.is_due(rater, len(mine) + 1, min(self.design["checks"], self.length()), self.answers.key)
            found = assignment.following(list(trials.values()), seen, shown, due=due, rng=self._random)
            return found.id if found else None

        turn = self.answers.turn(rater, pick, trials.__contains__)
        return (turn, trials[turn.trial]) if turn else None

    def begin(self, rater: int, trial: str) -> None:
        """Notes when a trial's page is sent for the first time."""
        self._since.setdefault((rater, trial), time.monotonic())
        if len(self._since) > self.config.limits.kept:
            self._since.popitem(last=False)

    def answer(self, rater: int, turn: Turn, choice: int) -> bool:
        """Whether it is the first answer to the trial before this rater."""
        since = self._since.pop((rater, turn.trial), None)
        ms = None if since is None else round(1000 * (time.monotonic() - since))
        return self.answers.answer(rater, turn.n, choice, ms)

    def proof(self, *what: object) -> str:
        """What a form carries, so that only a page of this study can have sent it."""
        return self._signer.get_signature("/".join(map(str, what))).decode()

    def proves(self, proof: str, *what: object) -> bool:
        """Whether it is the proof of just that."""
        return self._signer.verify_signature("/".join(map(str, what)), proof)


def create(study: Study, answers: Answers, config: Config, lists: tuple[Path, ...]) -> Flask:
    """The application. lists: files of what was taken down, read anew for every page."""
    from flask import Flask, Response, abort, redirect, render_template, request, url_for

    app, desk = Flask(__name__), Desk(study, answers, config, lists)
    app.config["MAX_CONTENT_LENGTH"] = BODY
    app.jinja_env.globals.update(simulated=answers.simulated, contact=config.contact)
    limits = config.limits
    requests, start, starts = (Buckets(rate, limits.kept) for rate in (limits.requests, limits.start, limits.starts))

    def whose(token: str) -> int:
        rater = answers.rater(token)
        if rater is None:
            abort(404)
        if not requests.take(rater):
            abort(429)
        return rater

    def ours(*what: object) -> None:
        """Refuses a form that did not come from a page of ours, or was made for another rater or trial."""
        if request.headers.get("Origin", "").partition("://")[2] != request.host:
            abort(403)
        if not desk.proves(request.form.get("proof", ""), *what):
            abort(403)

    @app.get("/")
    def consent() -> str:
        return render_template("consent.html", proof=desk.proof("start"), trials=desk.length(), rule=desk.design["rule"])

    @app.post("/start")
    def begin() -> Any:
        ours("start")
        if request.form.get("agreed") != "yes":
            return redirect(url_for("consent"), 303)
        if not (start.take(request.remote_addr) and starts.take("anybody")):
            abort(429)
        return redirect(url_for("trial", token=answers.start()), 303)

    @app.get("/r/<token>")
    def trial(token: str) -> str:
        rater = whose(token)
        found, done = desk.turn(rater), answers.answered(rater)
        if found is None:
            return render_template("done.html", token=token, done=done, proof=desk.proof(token, "withdraw"), over=True)
        n = found[0].n
        desk.begin(rater, found[1].id)
        return render_template("trial.html", token=token, n=n, done=done, total=desk.length(), shown=range(1, SHOWN + 1),
                               proof=desk.proof(token, n, found[1].id), late="late" in request.args)

    @app.post(f"/r/<token>/{SET}")
    def answer(token: str, n: int) -> Any:
        rater = whose(token)
        found = answers.shown(rater, n)
        turn = Turn(n, found[0] if found else "")
        ours(token, *turn)
        choice = request.form.get("choice", type=int)
        if choice is None or not 1 <= choice <= SHOWN:
            abort(400)
        accepted = desk.answer(rater, turn, choice - 1)
        return redirect(url_for("trial", token=token, late=None if accepted else 1), 303)

    @app.get(f"/r/<token>/{SET}/<int:k>.png")
    def picture(token: str, n: int, k: int) -> Response:
        found = answers.shown(whose(token), n)
        one = desk.trials().get(found[0]) if found and not found[1] else None
        if one is None or not 1 <= k <= SHOWN:
            abort(404)
        return Response(study.png(one, k - 1), mimetype="image/png")

    @app.get("/r/<token>/stop")
    def stop(token: str) -> str:
        rater = whose(token)
        return render_template("done.html", token=token, done=answers.answered(rater), proof=desk.proof(token, "withdraw"),
                               over=False)

    @app.post("/r/<token>/withdraw")
    def withdraw(token: str) -> str:
        rater = whose(token)
        ours(token, "withdraw")
        answers.withdraw(rater)
        return render_template("message.html", title="Your answers were removed", text="Nothing of you is stored any more.")

    @app.errorhandler(400)
    @app.errorhandler(403)
    @app.errorhandler(404)
    @app.errorhandler(429)
    def refused(error: Any) -> tuple[str, int]:
        title, text = MESSAGES[error.code]
        return render_template("message.html", title=title, text=text), error.code

    @app.after_request
    def guard(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    return app


def server(app: Flask, config: Config) -> Any:
    """Threads that serve it, once `run` is called. OSError where the port is taken."""
    import logging

    import waitress

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # requests that wait for a thread are no news
    # A proxy on this machine may say who asks and by which address; nobody else may.
    return waitress.create_server(
        app, host=config.host, port=config.port, threads=config.threads, ident=None, max_request_body_size=BODY,
        trusted_proxy="127.0.0.1", trusted_proxy_headers="x-forwarded-for x-forwarded-host x-forwarded-proto",
        clear_untrusted_proxy_headers=True)


MESSAGES = {400: ("No picture was chosen", "Go back and choose one of the three."),
            403: ("This form did not come from this study", "Open your link again and answer there."),
            404: ("There is nothing here", "Please check the link that you were given."),
            429: ("That was too fast", "Please wait some seconds, then open your link again.")}
