"""Content credentials are read from files that the test signs; nothing is fetched, and no answer is changed."""

import datetime
import http.server
import io
import json
import re
import threading
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from PIL import Image

import dfutils
from dfutils.app.answer_page import answer_html
from dfutils.app.service import Answer
from dfutils.errors import DfutilsError, UnreadableError
from dfutils.extraction import isolation, provenance
from dfutils.extraction.isolation import read_credentials_safely
from dfutils.prediction.detector import load_detector
from dfutils.prediction.outputs import credentials_line, credentials_sentence, plain_verdict
from dfutils.records import ContentCredentials, CredentialsState, Label, Reason, Verdict
from dfutils.report.verdict_page import verdict_page
from dfutils.settings import ExtractionSettings

c2pa = pytest.importorskip("c2pa", reason="content credentials need pip install '.[credentials]'")
x509 = pytest.importorskip("cryptography.x509", reason="comes with c2pa-python")

SETTINGS = ExtractionSettings()
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PICTURE = Path(dfutils.__file__).parent / "app" / "templates" / "forged_face.jpg"


def certificate(name, issuer=None):
    """A certificate with its key; without an issuer, of an authority."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    parent, signing = issuer or (None, key)
    oids = (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
    subject = x509.Name([x509.NameAttribute(oid, name) for oid in oids])
    now, flags = datetime.datetime.now(datetime.UTC), ("content_commitment", "key_encipherment", "data_encipherment")
    usage = dict.fromkeys((*flags, "key_agreement", "encipher_only", "decipher_only"), False)
    usage |= {"digital_signature": issuer is not None, "key_cert_sign": issuer is None, "crl_sign": issuer is None}
    builder = x509.CertificateBuilder(parent.subject if parent else subject, subject, key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=2))
    for extension, is_critical in (
        (x509.BasicConstraints(ca=issuer is None, path_length=None), True),
        (x509.KeyUsage(**usage), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), False),
        *([(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)] if issuer else []),
    ):
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(signing, hashes.SHA256()), key


def pem(one):
    from cryptography.hazmat.primitives.serialization import Encoding

    return one.public_bytes(Encoding.PEM)


@pytest.fixture(scope="module")
def authority():
    return certificate("Test Authority")


@pytest.fixture(scope="module")
def signed(authority):
    """A function that returns a signed copy of a JPEG or MP4."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    def sign(content, *, tool="Test Editor", kind="image/jpeg", server=None):
        signer, key = certificate("Test Newspaper", authority)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = pem(signer) + pem(authority[0])
        info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, chain, secret, None)
        made = {"action": "c2pa.created", "digitalSourceType": SOURCE, "softwareAgent": {"name": "Test Model"}}
        actions = {"label": "c2pa.actions", "data": {"actions": [made, {"action": "c2pa.edited"}]}}
        manifest = {"claim_generator_info": [{"name": tool, "version": "2.1"}], "assertions": [actions]}
        context = c2pa.Context.from_dict({"verify": {"verify_after_sign": False}})
        out = io.BytesIO()
        with c2pa.Builder(json.dumps(manifest), context) as builder:
            if server:
                builder.set_remote_url(server)
                builder.set_no_embed()
            builder.sign(c2pa.Signer.from_info(info), kind, io.BytesIO(content), out)
        return out.getvalue()

    return sign


@pytest.fixture(scope="module")
def picture(signed, tmp_path_factory):
    path = tmp_path_factory.mktemp("signed") / "signed.jpg"
    path.write_bytes(signed(PICTURE.read_bytes()))
    return path


@pytest.fixture
def server():
    """A server on this machine that counts the requests for manifests."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            """Be silent."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as one:
        thread = threading.Thread(target=one.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{one.server_port}/manifest.c2pa", requests
        one.shutdown()
        thread.join()


def test_a_signature_of_an_unknown_signer_is_valid_but_tells_nothing_about_who_signed(picture):
    found = read_credentials_safely(picture, SETTINGS)
    claims = ("created by a generative model with Test Model", "edited")
    assert found == ContentCredentials(CredentialsState.UNKNOWN_SIGNER, "Test Newspaper", "Test Editor 2.1", claims)
    assert credentials_sentence(found) == (
        "Signed by “Test Newspaper”, using “Test Editor 2.1”; the file has not changed since. The signer is not known "
        "here, and anybody can sign under any name. They say: created by a generative model with Test Model, edited."
    )


def test_a_signer_of_a_trusted_authority_is_known_unless_the_file_or_its_statements_were_altered(
    picture, authority, tmp_path, monkeypatch
):
    path = tmp_path / "authorities.pem"
    path.write_bytes(pem(authority[0]))
    monkeypatch.setenv(provenance.TRUST_VARIABLE, str(path))
    content = picture.read_bytes()
    assert b"Test Model" in content
    (tmp_path / "altered.jpg").write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    (tmp_path / "forged.jpg").write_bytes(content.replace(b"Test Model", b"Some Other"))
    for file, state, said in (
        (picture, CredentialsState.TRUSTED, "the signer is known, and the file has not changed since"),
        (tmp_path / "altered.jpg", CredentialsState.ALTERED, "altered afterwards"),
        (tmp_path / "forged.jpg", CredentialsState.INVALID, "count for nothing"),
    ):
        found = read_credentials_safely(file, SETTINGS)
        sentence = credentials_sentence(found)
        assert found.state == state
        assert said in sentence
        assert ("generative" in sentence) == (state == CredentialsState.TRUSTED)
        assert "Some Other" not in sentence


def test_a_manifest_on_a_server_is_not_fetched(signed, server, tmp_path):
    url, requests = server
    path = tmp_path / "remote.jpg"
    path.write_bytes(signed(PICTURE.read_bytes(), server=url))
    assert url.encode() in path.read_bytes()
    found = read_credentials_safely(path, SETTINGS)
    assert (found.state, requests) == (CredentialsState.REMOTE, [])
    assert "nothing is fetched" in credentials_sentence(found)
    with pytest.raises(c2pa.C2paError):
        c2pa.Reader("image/jpeg", io.BytesIO(path.read_bytes()))
    assert requests == ["/manifest.c2pa"]  # the library would have fetched it


def test_a_signed_video_is_read_too(signed, demo_videos, tmp_path):
    path = tmp_path / "signed.mp4"
    path.write_bytes(signed(demo_videos[0].read_bytes(), kind="video/mp4"))
    assert read_credentials_safely(path, SETTINGS).state == CredentialsState.UNKNOWN_SIGNER
    assert read_credentials_safely(demo_videos[0], SETTINGS).state == CredentialsState.NONE


@pytest.mark.parametrize("kind", ["PNG", "BMP"])  # the library does not know BMP
def test_without_credentials_nothing_is_claimed(kind, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "plain", kind)
    found = read_credentials_safely(tmp_path / "plain", SETTINGS)
    assert found == ContentCredentials(CredentialsState.NONE)
    assert credentials_sentence(found) == "No content credentials; that says nothing."


@pytest.mark.parametrize("kept", [0, 100, 2000])
def test_a_truncated_file_has_no_credentials_to_speak_of(picture, tmp_path, kept):
    (tmp_path / "cut.jpg").write_bytes(picture.read_bytes()[:kept])
    state = read_credentials_safely(tmp_path / "cut.jpg", SETTINGS).state
    assert state in (CredentialsState.NONE, CredentialsState.UNREADABLE)


def test_a_parser_that_dies_leaves_the_verdict_alone_unless_it_was_closed(picture, monkeypatch):
    def die(*_):
        raise died

    monkeypatch.setattr(isolation, "_ask", die)
    died = UnreadableError("signed.jpg: the decoder crashed twice (SIGSEGV).")
    assert read_credentials_safely(picture, SETTINGS).state == CredentialsState.UNREADABLE
    died = isolation._ClosedError("signed.jpg: the decoder crashed twice (SIGKILL).")
    with pytest.raises(UnreadableError):
        read_credentials_safely(picture, SETTINGS)


@pytest.mark.parametrize("parts", [[], [b"{}"], [b'{"credentials": {"state": "best"}}'], [b"\xff"]])
def test_a_damaged_answer_of_the_child_is_not_believed(picture, monkeypatch, parts):
    monkeypatch.setattr(isolation, "_ask", lambda *_: parts)
    assert read_credentials_safely(picture, SETTINGS) == ContentCredentials(CredentialsState.UNREADABLE)


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), ("none", "holds no certificate")])
def test_a_wrong_list_of_authorities_is_an_error(picture, monkeypatch, tmp_path, content, message):
    path = tmp_path / "authorities.pem"
    if content:
        path.write_text(content)
    monkeypatch.setenv(provenance.TRUST_VARIABLE, str(path))
    with pytest.raises(DfutilsError, match=f"DFUTILS_TRUST_LIST: .*{message}"):
        read_credentials_safely(picture, SETTINGS)


def test_credentials_are_told_in_the_verdict_and_never_change_it(signed, tmp_path):
    pytest.importorskip("openvino")
    detector = load_detector(engine="openvino")
    path, plain = tmp_path / "signed.jpg", tmp_path / "plain.jpg"
    path.write_bytes(signed(PICTURE.read_bytes(), tool="<b>\x1b[2JTool</b>"))
    plain.write_bytes(PICTURE.read_bytes())
    (verdict, extraction), (other, _) = detector.examine_many([path, plain])
    assert other.credentials == ContentCredentials(CredentialsState.NONE)
    assert replace(verdict, input="", credentials=None) == replace(other, input="", credentials=None)
    document = plain_verdict(verdict)["credentials"]
    assert (document["state"], document["signer"]) == ("unknown_signer", "Test Newspaper")
    assert document["statement"] == credentials_sentence(verdict.credentials)
    assert credentials_line(verdict).strip() == f"content credentials: {document['statement']}"
    assert credentials_line(other) == ""
    assert "\x1b" not in credentials_line(verdict)
    html = verdict_page(verdict, extraction, detector, file=path)
    assert "<b>" not in re.sub(r"<b>.{1,20} %</b>", "", html)
    answer = answer_html(Answer(verdict, extraction, 1.0), detector, file=path, people=1)
    for text in (html, answer):  # the page of its own, and the web page
        (section,) = re.findall(r"<h3>Content credentials</h3><p>(.*?)</p>", text)
        assert unescape(section) == document["statement"]


def test_without_the_library_the_verdict_says_that_nobody_looked(monkeypatch, tmp_path, caplog):
    verdict = Verdict("a.jpg", None, Label.UNDECIDED, Reason.NO_FACE)
    assert plain_verdict(verdict)["credentials"] is None
    assert credentials_sentence(None) == (
        "Content credentials were not looked for: c2pa-python is not installed, or the file cannot be opened."
    )
    monkeypatch.setattr("dfutils.prediction.detector.has_library", lambda: False)
    monkeypatch.setattr("dfutils.prediction.detector.read_credentials_safely", lambda *_: pytest.fail("looked"))
    Image.new("RGB", (64, 64)).save(tmp_path / "plain.png")
    pytest.importorskip("openvino")
    with caplog.at_level("DEBUG"):
        assert load_detector(engine="openvino").predict(tmp_path / "plain.png").credentials is None
    assert "run: pip install '.[credentials]'" in caplog.text
