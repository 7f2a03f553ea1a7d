"""`diwan ledger verify-receipt` and `receipt-page`: for whoever was shown a letter, or was given a proof."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diwan.cli.ledger_proofs import PolicyOption, bytes_of, policy_of
from diwan.cli.output import Output, OutputOption, emit, record, say
from diwan.domain.errors import InvalidInput, Tampered, Unavailable
from diwan.domain.text import Language

if TYPE_CHECKING:
    from diwan.ledger.policy import Policy
    from diwan.ledger.receipt import Checked

Json = dict[str, Any]

_TLOG_PROOF = b"c2sp.org/tlog-proof@"


def verify_receipt(
    receipt: Annotated[
        str,
        typer.Argument(
            metavar="RECEIPT",
            help="A letter's verification sheet (PDF) or the text of its code, in a file or as it is; or a proof, as "
            "`diwan ledger prove` makes it; or, with --online, a letter's short code.",
        ),
    ],
    policy: PolicyOption,
    letter: Annotated[
        Path | None, typer.Option("--letter", metavar="FILE", help="The letter's PDF: is it the one that was issued?")
    ] = None,
    online: Annotated[
        str, typer.Option("--online", metavar="URL", help="Ask this service whether the letter still stands.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Check a letter, or a proof, with nothing but its file and your policy. Exits with 1 where it shows nothing.

    The policy (c2sp.org/tlog-policy) is yours: `log` with the key that `diwan ledger vkey` printed, on paper or by
    another way than the letter's own; witnesses; and a `quorum`. Only with --online is anybody asked, by the letter's
    short code; then 1 is also the exit of a letter that no longer stands. A specimen is no letter.
    """
    trusted = policy_of(policy)
    content = _content(receipt)
    if content.startswith(_TLOG_PROOF):
        if letter is not None or online:
            raise InvalidInput(
                "receipt.only_an_entry",
                "A proof shows an entry of the log, no letter: --letter and --online have nothing to go by.",
                "Give the letter's sheet, the text of its code, or its short code.",
            )
        emit_told(output, _proof(content, trusted))
        return
    told: Json = {"holds": True}
    code = _code(content.decode(errors="replace"))
    if code and not online:
        raise InvalidInput("receipt.only_a_code", "A short code shows nothing by itself.", "Give --online URL.")
    if not code:
        checked = _checked(content, trusted)
        told |= _said(checked)
        code = checked.facts.code
        if letter is not None:
            from diwan.ledger.receipt import check_letter

            check_letter(checked, bytes_of(letter))
            told["letter"] = "the file that was issued"
    if online:
        told |= _standing(online, code, trusted, letter)
    # Of a bare code that nobody's log showed anything of, nothing holds.
    told["holds"] = "sha256" in told and not told["sample"]
    emit_told(output, told)
    if told.get("sample"):
        say("This is a specimen and no real letter: do not rely on it.")
        raise typer.Exit(1)
    if told.get("stands", "in_force") != "in_force":
        say("This letter does not stand, or not any more: do not rely on it.")
        raise typer.Exit(1)


def receipt_page(
    policy: PolicyOption,
    to: Annotated[Path, typer.Option("--to", "-o", metavar="FILE", help="Where the page goes.")],
    online: Annotated[
        str, typer.Option("--online", metavar="URL", help="The service that the page may ask; without it, nobody.")
    ] = "",
    language: Annotated[Language, typer.Option("--language", help="That it opens in where the browser's is none.")] = (
        Language.EN
    ),
    output: OutputOption = Output.TABLE,
) -> None:
    """Write the page by which anybody checks letters in a browser, offline: one file, with the keys of your policy.

    Hand it out by a way that people trust, and publish its SHA-256 beside it.
    """
    from hashlib import sha256

    from diwan.documents.receipt_page import receipt_page as made

    policy_of(policy)
    if online and not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?", online):
        raise InvalidInput("receipt.bad_address", "That is no address of a service.", "It reads https://HOST.")
    page = made(bytes_of(policy).decode(), online, language)
    to.write_bytes(page)
    say(f"wrote {to}")
    emit_told(output, {"file": str(to), "bytes": len(page), "sha256": sha256(page).hexdigest()})


def emit_told(output: Output, told: Json) -> None:
    emit(output, told, lambda width: record(list(told.items())))


def _content(receipt: str) -> bytes:
    """What the argument names: text that is a receipt or a code, else a file."""
    from diwan.ledger.receipt import PREFIX

    if receipt.lstrip().startswith(PREFIX) or _code(receipt):
        return receipt.encode()
    return bytes_of(Path(receipt))


def _code(text: str) -> str:
    from diwan.ledger.receipt_code import read_code

    return read_code(text) if len(text) < 100 else ""


def _proof(content: bytes, trusted: Policy) -> Json:
    from diwan.ledger.entry import check_header
    from diwan.ledger.proof import check_proof, parse_proof
    from diwan.ledger.receipt_standing import BY_KIND

    proof = parse_proof(content)
    checkpoint = check_proof(proof, proof.extra, trusted)
    header = check_header(proof.extra)
    told: Json = {
        "holds": True,
        "log": checkpoint.origin,
        "size": checkpoint.size,
        "index": proof.index,
        "tenant": header.tenant,
        "chain": header.chain,
        "seq": header.seq,
        "kind": header.kind,
        "at": header.at.isoformat(),
        "actor": header.actor.subject,
    }
    if header.kind in BY_KIND:
        told["not_shown"] = "what the letter says, and whether it still stands: its sheet and --online do"
    return told


def _checked(content: bytes, trusted: Policy) -> Checked:
    from diwan.ledger.receipt import PREFIX, check_receipt, find_receipt, unpack

    # Copied text may be broken into lines, which a PDF's never is.
    text = content.decode(errors="replace")
    whole = text if text.lstrip().startswith(PREFIX) else find_receipt(content)
    return check_receipt(unpack(whole), trusted)


def _said(checked: Checked) -> Json:
    facts = checked.facts
    return {
        **facts.model_dump(mode="json", exclude={"v", "pdf", "sample"}),
        "sample": facts.sample,
        "tenant": checked.tenant,
        "issued_at": checked.at.isoformat(),
        "log": checked.checkpoint.origin,
        "size": checked.checkpoint.size,
        "index": checked.index,
        "sha256": facts.pdf,
    }


def _standing(url: str, code: str, trusted: Policy, letter: Path | None) -> Json:
    """What the service answers, as far as its log shows it."""
    from diwan.cli.client import Client, segment
    from diwan.ledger.receipt import check_letter
    from diwan.ledger.receipt_standing import Stands, check_standing

    with Client(url.rstrip("/"), lambda: "") as client:
        answer = client.get(f"/ledger/receipts/{segment(code)}")
    status, proof = str(answer.get("status")), str(answer.get("proof") or "")
    if status == Stands.UNKNOWN:
        return {"code": code, "stands": status}
    if not proof and status in (Stands.REPLACED, Stands.WITHDRAWN):
        # That a letter fell is worth hearing a second before the log shows it.
        return {"code": code, "stands": status, "proved": False}
    if not proof and status == Stands.IN_FORCE:
        raise Unavailable(
            "receipt.not_yet",
            "The service says that the letter stands, and its log does not show it yet.",
            "Ask again in a moment: a letter of just now is in the log within seconds.",
        )
    shown = check_standing(proof.encode(), code, trusted)
    if shown.stands != status:
        raise Tampered("receipt.answer_differs", "The service says otherwise than its own log.")
    checked = _checked(str(answer.get("receipt", "")).encode(), trusted)
    if checked.facts.code != code:
        raise Tampered("receipt.other_code", "The service answered with another letter.")
    told = _said(checked)
    if letter is not None:
        check_letter(checked, bytes_of(letter))
        told["letter"] = "the file that was issued"
    return {**told, "stands": shown.stands.value, "since": shown.since.isoformat(), "log_size_asked": shown.size}
