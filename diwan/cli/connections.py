"""What processes are connected to, made from the settings."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from diwan.domain.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from temporalio.client import Client

    from diwan.ledger.policy import Policy
    from diwan.pool.registry import Registry
    from diwan.settings import DatabaseRole, Settings
    from diwan.signer.client import SignerClient
    from diwan.store.database import Database
    from diwan.vault.client import VaultKeyring


def database(settings: Settings, role: DatabaseRole) -> Database:
    """Connections of this process, as its own role; made when first used."""
    from diwan.store.database import Database

    url = settings.database_url(role)
    return Database.connect(url, role=f"diwan_{role}", pool_size=settings.database_pool_size)


async def ping(db: Database) -> None:
    """Raises when the database cannot be used."""
    from sqlalchemy import text

    async with db.transaction(None) as conn:
        await conn.execute(text("SELECT 1"))


async def database_time(db: Database) -> datetime:
    """What time the database has. Raises when it cannot be used."""
    from diwan.store.pool_hosts import time_there

    async with db.transaction(None) as conn:
        return await time_there(conn)


def keyring(settings: Settings) -> VaultKeyring:
    """The vault, called with this process's own token."""
    from diwan.vault.client import VaultKeyring

    return VaultKeyring(settings.text("vault_address"), settings.secret("vault_token"))


def eraser(settings: Settings) -> VaultKeyring:
    """The vault, called with the token that destroys keys and does nothing else."""
    from diwan.vault.client import VaultKeyring

    return VaultKeyring(settings.text("vault_address"), settings.secret("vault_eraser_token"))


def signer_client(settings: Settings) -> SignerClient:
    """The signer, called with its token."""
    from diwan.signer.client import SignerClient

    return SignerClient(settings.text("signer_address"), settings.secret("signer_token"))


def witnesses_of(settings: Settings) -> Policy:
    """Who is asked to cosign, as DIWAN_LEDGER_WITNESSES says; nobody where it names no file."""
    from diwan.ledger.policy import Policy, parse_policy

    if settings.ledger_witnesses is None:
        return Policy(())
    try:
        return parse_policy(settings.ledger_witnesses.read_bytes())
    except OSError as error:
        raise InvalidInput(
            "settings.witnesses_unreadable",
            f"DIWAN_LEDGER_WITNESSES: {settings.ledger_witnesses}: {error.strerror}.",
            "Check the path.",
        ) from None


def registry(settings: Settings) -> Registry:
    """The registered models; none where no file is named: people do every step. Raises `InvalidInput`."""
    from pydantic import ValidationError

    from diwan.pool.registry import Registry

    if settings.registry is None:
        return Registry(models=(), capabilities={})
    try:
        return Registry.model_validate_json(settings.registry.read_bytes())
    except OSError as error:
        raise InvalidInput(
            "settings.registry_unreadable", f"DIWAN_REGISTRY: {settings.registry}: {error.strerror}.", "Check the path."
        ) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            "settings.registry_invalid", f"{settings.registry}: {place}: {first['msg']}.", "Correct the file."
        ) from None


class TemporalLink:
    """The way to Temporal. `ready` fails until `connect` has worked, and whenever the server does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Client | None = None

    async def connect(self) -> Client:
        """Raises RuntimeError when Temporal does not answer."""
        from temporalio.client import TLSConfig

        from diwan.temporal import connect

        chosen = self._settings
        tls: TLSConfig | bool = chosen.temporal_tls
        if tls and (chosen.temporal_tls_ca or chosen.temporal_tls_cert):
            tls = TLSConfig(
                server_root_ca_cert=_bytes_of(chosen.temporal_tls_ca),
                client_cert=_bytes_of(chosen.temporal_tls_cert),
                client_private_key=_bytes_of(chosen.temporal_tls_key),
            )
        self._client = await connect(chosen.temporal_address, chosen.temporal_namespace, tls=tls)
        return self._client

    @property
    def client(self) -> Client | None:
        """None until `connect` has worked."""
        return self._client

    async def ready(self) -> None:
        """Raises when Temporal does not answer for our namespace."""
        from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

        if self._client is None:
            raise Unavailable("temporal.unavailable", "Temporal does not answer yet.", "Wait for it.")
        await self._client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=self._client.namespace)
        )


def _bytes_of(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
