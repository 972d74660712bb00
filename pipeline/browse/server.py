"""Serve the page on 127.0.0.1.

Every address begins with a random token, so neither other pages in the browser nor other users of
the machine can ask for anything. GET changes nothing. No address holds a path.
"""

from __future__ import annotations

import hmac
import io
import secrets
import threading
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, jsonify, request, send_file
from werkzeug.serving import WSGIRequestHandler, make_server

from featstore.errors import FeatstoreError, InputError
from featstore.extras import missing_packages
from pipeline.browse.extract import extract
from pipeline.browse.folder import StoreFolder
from pipeline.types import Log

HOST = "127.0.0.1"
FILES = {"": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
MOST_BYTES = 16 * 2**20  # of what is sent here


def make_app(root: Path, token: str) -> Flask:
    """Return the application over a folder of stores; its addresses begin with a token.

    Raises
    ------
    InputError
        If there is no such folder.
    """
    folder = StoreFolder(root)
    app = Flask(__name__, static_folder=None)
    # A name that an attacker's server gives to 127.0.0.1 is not trusted.
    app.config |= {"TRUSTED_HOSTS": [HOST, "localhost"], "MAX_CONTENT_LENGTH": MOST_BYTES}
    one_video = threading.Lock()

    @lru_cache(maxsize=8)
    def clip_video(key: str, clip: int) -> bytes:
        return extract(*folder.video(key, clip))

    @app.url_value_preprocessor
    def check_token(endpoint: str | None, values: dict[str, Any] | None) -> None:
        if values is not None and not hmac.compare_digest(
            values.pop("token").encode(), token.encode()
        ):
            abort(404)

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(FeatstoreError)
    def say(error: FeatstoreError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 422

    @app.errorhandler(OSError)
    def say_file(error: OSError) -> tuple[Response, int]:
        return jsonify(error=f"{error.filename or ''}: {error.strerror or error}"), 422

    @app.errorhandler(ModuleNotFoundError)
    def say_missing(error: ModuleNotFoundError) -> tuple[Response, int]:
        return jsonify(error=missing_packages("browse", error) or str(error)), 422

    @app.get("/<token>/", defaults={"name": ""})
    @app.get("/<token>/<name>")
    def page(name: str) -> Response:
        if name not in FILES:
            abort(404)
        data = (resources.files("pipeline.browse") / (name or "page.html")).read_bytes()
        return Response(data, mimetype=FILES[name])

    @app.get("/<token>/stores/")
    def stores() -> Response:
        return jsonify(folder.listing())

    @app.get("/<token>/stores/<key>/clips")
    def clips(key: str) -> Response:
        return jsonify(folder.clips(key))

    @app.get("/<token>/stores/<key>/runs/<int:number>")
    def predictions(key: str, number: int) -> Response:
        return jsonify(folder.predictions(key, number))

    @app.get("/<token>/stores/<key>/neighbours/<int:clip>")
    def neighbours(key: str, clip: int) -> Response:
        return jsonify(folder.features(key).neighbours(clip))

    @app.get("/<token>/stores/<key>/map/<any(pca, tsne):method>")
    def clip_map(key: str, method: Any) -> Response:
        positions, points = folder.features(key).map(method)
        return jsonify(clips=positions.tolist(), points=points.round(4).tolist())

    @app.get("/<token>/stores/<key>/errors")
    def errors(key: str) -> Response:
        return jsonify(folder.features(key).label_errors())

    @app.get("/<token>/stores/<key>/video/<int:clip>")
    def video(key: str, clip: int) -> Response:
        with one_video:
            data = clip_video(key, clip)
        return send_file(io.BytesIO(data), mimetype="video/mp4", conditional=True)

    @app.post("/<token>/stores/<key>/corrections")
    def corrections(key: str) -> Response:
        sent = request.get_json()
        try:
            labels = {int(clip): label for clip, label in sent.items()}
        except (AttributeError, ValueError):
            raise InputError("Corrections are an object from positions to labels.") from None
        return jsonify(folder.write_corrections(key, labels))

    return app


class _Quiet(WSGIRequestHandler):
    def log_request(self, *args: Any) -> None:
        """Log no address: each holds the token."""


def serve(root: Path, port: int, log: Log) -> None:
    """Serve the page until interrupted.

    Parameters
    ----------
    root : Path
        Folder of stores.
    port : int
        0 takes a free one.
    log : callable
        Told the address.

    Raises
    ------
    InputError
        If there is no such folder, or the port is taken.
    """
    token = secrets.token_urlsafe(24)
    app = make_app(root, token)
    try:
        server = make_server(HOST, port, app, threaded=True, request_handler=_Quiet)
    except (OSError, SystemExit):  # werkzeug exits where a port is taken
        raise InputError(f"Port {port} cannot be opened; pass another one, or --port 0.") from None
    log(f"http://{HOST}:{server.server_port}/{token}/")
    log("Open this address in a browser on this machine; Ctrl-C ends.")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
