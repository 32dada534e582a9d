"""Content credentials (C2PA): what a file says about its own origin, and whether its signature holds.

Nothing is fetched: neither a manifest on a server nor the state of a certificate. The library c2pa-python, whose parser
is native code, runs in the child process that also decodes untrusted media.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dfutils.errors import DfutilsError
from dfutils.records import ContentCredentials, CredentialsState

TRUST_VARIABLE = "DFUTILS_TRUST_LIST"
"""Environment variable with the path of a PEM file: the certificates of authorities whose signers count as known."""

MAX_TEXT, MAX_CLAIMS = 120, 12
"""Characters of a name and number of claims that are kept: they are a stranger's text."""

_ALTERED = {"assertion.dataHash.mismatch", "assertion.bmffHash.mismatch", "assertion.boxesHash.mismatch"}
_ACTIONS = {
    "c2pa.created": "created",
    "c2pa.opened": "made from another file",
    "c2pa.edited": "edited",
    "c2pa.color_adjustments": "colours adjusted",
    "c2pa.cropped": "cropped",
    "c2pa.resized": "resized",
    "c2pa.transcoded": "re-encoded",
    "c2pa.placed": "another picture placed in it",
    "c2pa.published": "published",
}
_SOURCES = {
    "trainedAlgorithmicMedia": "by a generative model",
    "compositeWithTrainedAlgorithmicMedia": "in part by a generative model",
    "algorithmicMedia": "by a program",
    "digitalCapture": "by a camera",
    "computationalCapture": "by a camera with computation",
    "screenCapture": "by recording a screen",
}


@functools.cache
def has_library() -> bool:
    """Return whether c2pa-python is installed."""
    return importlib.util.find_spec("c2pa") is not None


def trust_list() -> str:
    """Return the PEM certificates of `TRUST_VARIABLE`; empty if it is not set.

    Raises:
        DfutilsError: The file cannot be read, or is not in PEM.
    """
    name = os.environ.get(TRUST_VARIABLE, "")
    if not name:
        return ""
    try:
        text = Path(name).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise DfutilsError(f"{TRUST_VARIABLE}: {name}: cannot be read ({error}). Name a PEM file.") from error
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise DfutilsError(f"{TRUST_VARIABLE}: {name}: holds no certificate. Name a PEM file.")
    return text


def read_credentials(path: Path, *, trusted: str = "") -> ContentCredentials:
    """Read the content credentials of a trusted file in this process.

    Args:
        path: A video or image.
        trusted: PEM certificates of authorities; without them no signer is known.
    """
    from c2pa import C2paError, Context, Reader

    settings: dict[str, Any] = {
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
        "core": {"allowed_network_hosts": []},
    }
    if trusted:
        settings["trust"] = {"trust_anchors": trusted}
    try:
        with Context.from_dict(settings) as context, path.open("rb") as file:
            reader = Reader(None, file, context=context)
            with reader:
                return _from_document(json.loads(reader.json()))
    except C2paError.ManifestNotFound:
        return ContentCredentials(CredentialsState.NONE)
    except (C2paError, OSError, ValueError) as error:
        states = {"Remote": CredentialsState.REMOTE, "NotSupported": CredentialsState.NONE}
        found = [state for kind, state in states.items() if str(error).startswith(kind)]
        return ContentCredentials(found[0] if found else CredentialsState.UNREADABLE)


def _from_document(document: Mapping[str, Any]) -> ContentCredentials:
    """Take what is shown from the library's report on the active manifest."""
    manifest = document.get("manifests", {}).get(document.get("active_manifest"), {})
    results = document.get("validation_results", {}).get("activeManifest", {})
    failures = {str(one.get("code")) for one in results.get("failure", ())}
    states = {
        "Trusted": CredentialsState.TRUSTED,
        "Valid": CredentialsState.UNKNOWN_SIGNER,
        "Invalid": CredentialsState.ALTERED if failures & _ALTERED else CredentialsState.INVALID,
    }
    signature = manifest.get("signature_info") or {}
    names = [signature.get("common_name"), signature.get("issuer")]
    generators = [one for one in manifest.get("claim_generator_info") or () if isinstance(one, dict)]
    tool = _name_of(generators[0]) if generators else manifest.get("claim_generator")
    return ContentCredentials(
        states.get(str(document.get("validation_state")), CredentialsState.INVALID),
        signer=_short(", ".join(dict.fromkeys(name for name in names if isinstance(name, str)))),
        tool=_short(tool),
        claims=tuple(dict.fromkeys(_claims(manifest)))[:MAX_CLAIMS],
    )


def _claims(manifest: Mapping[str, Any]) -> Iterator[str]:
    for assertion in manifest.get("assertions") or ():
        if not str(assertion.get("label", "")).startswith("c2pa.actions"):
            continue
        for action in (assertion.get("data") or {}).get("actions") or ():
            kind = str(action.get("action", ""))
            source = _SOURCES.get(str(action.get("digitalSourceType", "")).rpartition("/")[2], "")
            agent = action.get("softwareAgent")
            agent = _short(_name_of(agent) if isinstance(agent, dict) else agent)
            words = (_ACTIONS.get(kind, _short(kind)), source, f"with {agent}" if agent else "")
            yield " ".join(filter(None, words))


def _name_of(tool: Mapping[str, Any]) -> str:
    return " ".join(str(tool[key]) for key in ("name", "version") if tool.get(key))


def _short(text: object) -> str:
    return text[:MAX_TEXT] if isinstance(text, str) else ""
