"""`diwan task`: the worklist. An act is bound to the digest of what was shown and takes effect once."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import rfc8785
import typer

from diwan.cli import pictures
from diwan.cli.case import LimitOption
from diwan.cli.client import Client, pages, segment
from diwan.cli.credentials import AsOption, AsRole, connect
from diwan.cli.lazy import command_group
from diwan.cli.output import Output, OutputOption, emit, show
from diwan.domain.errors import InvalidInput, Tampered

Json = dict[str, Any]

TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="Id of the task.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept with the act.")]
DigestOption = Annotated[
    str,
    typer.Option("--digest", help="Digest of what you saw. Without it: of what is fetched and printed now."),
]
KeyOption = Annotated[str, typer.Option("--key", help="Idempotency-Key, to repeat an act whose answer was lost.")]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="NAME=VALUE", help="New value of a fact, piece.NAME, result or amount; of a stray event: case."
    ),
]


def register(app: typer.Typer) -> None:
    group = command_group("Work the worklist: claim, approve, edit, reject, return.")
    for name, command in (
        ("list", list_),
        ("show", show_),
        ("claim", claim),
        ("release", release),
        ("approve", approve),
        ("edit", edit),
        ("reject", reject),
        ("return", return_),
    ):
        group.command(name)(command)
    app.add_typer(group, name="task")


def list_(
    status: Annotated[str, typer.Option("--status", help="open, claimed, completed or cancelled.")] = "",
    kind: Annotated[str, typer.Option("--kind", help="review, request_pieces, sign, late_event or stray_event.")] = "",
    mine: Annotated[bool, typer.Option("--mine", help="Only those that you have claimed.")] = False,
    case: Annotated[str, typer.Option("--case", help="Only tasks of this case (number or id).")] = "",
    limit: LimitOption = 50,
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the tasks that this user may work on, the oldest first."""
    with connect(role, AsRole.CLERK) as client:
        wanted = {"status": status, "kind": kind, "mine": "true" if mine else "", "case": case}
        items = list(pages(client, "/v1/tasks", wanted, limit=limit))
    emit(output, items, lambda width: pictures.tasks(items, width))


def show_(task: TaskArgument, role: AsOption = None, output: OutputOption = Output.TABLE) -> None:
    """Show a task with everything that an act on it is bound to."""
    with connect(role, AsRole.CLERK) as client:
        view = read_task(client, task)
    emit(output, view, lambda width: pictures.task(view, width))


def claim(task: TaskArgument, key: KeyOption = "", role: AsOption = None, output: OutputOption = Output.TABLE) -> None:
    """Take a task: nobody else works on it until you release it."""
    _act("claim", task, {}, key, role, output)


def release(
    task: TaskArgument, key: KeyOption = "", role: AsOption = None, output: OutputOption = Output.TABLE
) -> None:
    """Give a task back to the worklist."""
    _act("release", task, {}, key, role, output)


def approve(
    task: TaskArgument,
    reason: ReasonOption = "",
    digest: DigestOption = "",
    key: KeyOption = "",
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Approve what is proposed; on a task `sign` this is the signature."""
    _act("approve", task, {"digest": digest, "reason": reason}, key, role, output)


def edit(
    task: TaskArgument,
    changes: SetOption,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the act. An edit needs one.")],
    digest: DigestOption = "",
    key: KeyOption = "",
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change the proposal. You become its proposer, so another person has to approve it.

    For example: diwan task edit TASK --set price=350000 --reason "The promise says so."
    """
    body = {"digest": digest, "reason": reason, "changes": changes_of(changes)}
    _act("edit", task, body, key, role, output)


def reject(
    task: TaskArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the act. Declining needs one.")],
    digest: DigestOption = "",
    key: KeyOption = "",
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Decline the proposal (not the application)."""
    _act("reject", task, {"digest": digest, "reason": reason}, key, role, output)


def return_(
    task: TaskArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the act. A return needs one.")],
    digest: DigestOption = "",
    key: KeyOption = "",
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send the case back to be examined again."""
    _act("return", task, {"digest": digest, "reason": reason}, key, role, output)


def changes_of(texts: list[str]) -> Json:
    """`price=350 000 DH` → {"price": "350 000 DH"}: the service reads values as the procedure declares them.

    Only `amount`, which is no fact, has to be a whole number here.
    """
    changes: Json = {}
    for text in texts:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not sign or not name:
            raise InvalidInput("cli.set", "--set takes NAME=VALUE.", "For example --set price=350000.")
        if name == "amount" and not value.isdecimal():
            raise InvalidInput("cli.set", "amount takes a whole number.", "For example --set amount=70000.")
        changes[name] = int(value) if name == "amount" else value
    return changes


def read_task(client: Client, task: str) -> Json:
    return client.get(f"/v1/tasks/{segment(task)}")


def digest_of(view: Json) -> str:
    """Digest of what is shown: SHA-256 of its canonical JSON (RFC 8785), computed here.

    Raises Tampered when the service says another: what is on the screen is not what would be approved.
    """
    shown = hashlib.sha256(rfc8785.dumps(view["shown"])).hexdigest()
    if shown != view["digest"]:
        raise Tampered(
            "task.digest_wrong",
            "What the service shows does not have the digest that it gives.",
            "Do not act on it; tell the operator.",
        )
    return shown


def act_on(client: Client, task: str, act: str, body: Json, *, key: str = "") -> Json:
    """One act; the task as it is afterwards. Raises Conflict when what is shown has changed since."""
    return client.act(
        f"/v1/tasks/{segment(task)}/{act}", {name: value for name, value in body.items() if value}, key=key
    )


def _act(act: str, task: str, body: Json, key: str, role: AsRole | None, output: Output) -> None:
    with connect(role, AsRole.CLERK) as client:
        if "digest" in body and not body["digest"]:
            seen = read_task(client, task)
            show(lambda width: pictures.task(seen, width), output=output)
            body = body | {"digest": digest_of(seen)}
        done = act_on(client, task, act, body, key=key)
    emit(output, done, lambda width: pictures.tasks([done], width))
