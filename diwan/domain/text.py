"""Text in the languages of the people concerned."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Language(StrEnum):
    AR = "ar"
    FR = "fr"
    EN = "en"


class Localized(BaseModel):
    """One text in the three languages; all are required, none is a translation of lesser rank."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ar: str
    fr: str
    en: str

    def in_(self, language: Language) -> str:
        return str(getattr(self, language.value))
