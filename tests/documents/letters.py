"""One letter of each kind in each language, all people and offices invented."""

from __future__ import annotations

from datetime import date
from typing import Any

from diwan.documents.compose import Letter
from diwan.documents.content import (
    Addressee,
    AgentPart,
    AskedPiece,
    Contest,
    Decision,
    Explanation,
    HeldFact,
    Office,
    Piece,
    QuotedFact,
    Receipt,
    Remedy,
    Reminder,
    RequestForPieces,
    Signatory,
    StatedGround,
    WhyAsked,
    Withdrawal,
)
from diwan.domain.case import Result
from diwan.domain.facts import Provenance
from diwan.domain.text import Language, Localized

KINDS = ("receipt", "request_for_pieces", "reminder", "decision", "withdrawal", "explanation")

OFFICE = Localized(
    ar="وزارة السكنى النموذجية (إدارة خيالية) — مصلحة الدعم المباشر للسكن",
    fr="Ministère modèle de l’habitat (administration fictive) — Service de l’aide directe au logement",
    en="Model Ministry of Housing (invented) — Direct Housing Aid Office",
)
PROCEDURE = Localized(ar="الدعم المباشر للسكن", fr="Aide directe au logement", en="Direct housing aid")
NAME = Localized(ar="فاطمة الزهراء المثالية", fr="Fatima-Zahra El Mithali", en="Fatima-Zahra El Mithali")
ADDRESS = Localized(
    ar="12، زنقة الأرز، حي النموذج\n10000 الرباط",
    fr="12, rue des Cèdres, quartier Modèle\n10000 Rabat",
    en="12 Cedar Street, Model District\n10000 Rabat",
)
PLACE = Localized(ar="الرباط", fr="Rabat", en="Rabat")
CARD = Localized(
    ar="نسخة من بطاقة التعريف الوطنية", fr="Copie de la carte nationale d’identité", en="Copy of the identity card"
)
PROMISE = Localized(
    ar="الوعد بالبيع محررا من لدن موثق", fr="Promesse de vente établie par un notaire", en="Notarised promise of sale"
)
PERMIT = Localized(ar="نسخة من رخصة السكن", fr="Copie du permis d’habiter", en="Copy of the habitation permit")
SILENCE = Localized(
    ar="يعتبر سكوت الإدارة بعد انصرام هذا الأجل رفضا ضمنيا للطلب.",
    fr="Le silence gardé par l’administration à l’expiration de ce délai vaut décision implicite de rejet.",
    en="If the administration is silent when this period ends, the application counts as refused.",
)
EFFECT = Localized(
    ar="بعد انصرام هذا الأجل يدرس الطلب على الحالة التي هو عليها، ويمكن التصريح بعدم قبوله شكلا.",
    fr="Passé ce délai, la demande est instruite en l’état et peut être déclarée irrecevable.",
    en="After this period the application is examined as it stands and may be declared inadmissible.",
)
APPEAL_TO = Localized(
    ar="السلطة مصدرة القرار أو رئيسها التسلسلي",
    fr="l’autorité signataire ou son supérieur hiérarchique",
    en="the authority that signed the decision, or its superior",
)
COURT = Localized(
    ar="المحكمة الإدارية المختصة", fr="le tribunal administratif compétent", en="the competent administrative court"
)
GROUND = Localized(
    ar="سلمت رخصة السكن بتاريخ 14 نونبر 2022، أي قبل فاتح يناير 2023.",
    fr="Le permis d’habiter a été délivré le 14 novembre 2022, soit avant le 1er janvier 2023.",
    en="The habitation permit was issued on 14 November 2022, that is before 1 January 2023.",
)
LAW = Localized(
    ar="القانون رقم 00.26 المتعلق بالدعم المباشر للسكن (نص خيالي)",
    fr="loi n° 00-26 relative à l’aide directe au logement (texte fictif)",
    en="Act No. 00-26 on direct housing aid (invented text)",
)
ARTICLE = Localized(
    ar="المادة 3، الفقرة 3، من القانون رقم 00.26",
    fr="article 3, alinéa 3, de la loi n° 00-26",
    en="article 3, paragraph 3, of Act No. 00-26",
)
TITLE = Localized(ar="رئيسة مصلحة الدعم", fr="La cheffe du service", en="Head of the office")
DELEGATION = Localized(
    ar="قرار تفويض الإمضاء رقم 2026/17 بتاريخ 2 يناير 2026",
    fr="arrêté de délégation n° 2026/17 du 2 janvier 2026",
    en="delegation order No. 2026/17 of 2 January 2026",
)
PRICE = Localized(ar="ثمن المسكن", fr="Prix du logement", en="Price of the dwelling")
PERMIT_DATE = Localized(ar="تاريخ رخصة السكن", fr="Date du permis d’habiter", en="Date of the permit")
NATIONAL = Localized(ar="الجنسية المغربية", fr="Nationalité marocaine", en="Moroccan nationality")
EARLIER = Localized(ar="استفادة سابقة من دعم عمومي", fr="Aide publique déjà obtenue", en="Public aid received before")
NOTARY = Localized(ar="الموثق", fr="Notaire", en="Notary")


def contest(language: Language) -> Contest:
    return Contest(
        administrative=Remedy(to=APPEAL_TO.in_(language), days=60), court=Remedy(to=COURT.in_(language), days=60)
    )


def common(language: Language) -> dict[str, Any]:
    return {
        "language": language,
        "office": Office(name=OFFICE.in_(language), contact="05 37 00 00 00 · aide@logement.example"),
        "place": PLACE.in_(language),
        "date": date(2026, 11, 23),
        "number": "DW-2026-000142/2",
        "case_number": "DW-2026-000142",
        "procedure": PROCEDURE.in_(language),
        "applicant": Addressee(name=NAME.in_(language), address=ADDRESS.in_(language), identity_number="ZZ100001"),
        "reference": "PORTAIL-77/AB",
        "sample": True,
        "code": "DGBYV-6VH1G-D28A3-KV49Q",
        "check_at": "https://verifier.logement.example",
    }


def receipt(language: Language, **changes: Any) -> Receipt:
    fields: dict[str, Any] = {
        "received_on": date(2026, 11, 20),
        "pieces": (CARD.in_(language), PERMIT.in_(language)),
        "missing": (Piece(label=PROMISE.in_(language)),),
        "decision_due_on": date(2027, 1, 19),
        "silence": SILENCE.in_(language),
        "contest": contest(language),
    }
    return Receipt.model_validate(common(language) | fields | changes)


def request_for_pieces(language: Language, **changes: Any) -> RequestForPieces:
    fields: dict[str, Any] = {
        "pieces": (
            AskedPiece(label=PROMISE.in_(language), why=WhyAsked.MISSING),
            AskedPiece(label=PERMIT.in_(language), why=WhyAsked.UNREADABLE, note="PERMIS/2024-118"),
        ),
        "until": date(2026, 12, 23),
        "suspended_on": date(2026, 11, 23),
        "effect": EFFECT.in_(language),
    }
    return RequestForPieces.model_validate(common(language) | fields | changes)


def reminder(language: Language, **changes: Any) -> Reminder:
    asked = request_for_pieces(language)
    fields: dict[str, Any] = {
        "request": "DW-2026-000142/1",
        "asked_on": date(2026, 11, 9),
        "pieces": asked.pieces,
        "until": asked.until,
        "effect": asked.effect,
    }
    return Reminder.model_validate(common(language) | fields | changes)


def decision(language: Language, **changes: Any) -> Decision:
    facts = (
        HeldFact(label=NATIONAL.in_(language), value=True, provenance=Provenance.DOCUMENT, document=CARD.in_(language)),
        HeldFact(
            label=PRICE.in_(language),
            value=650_000,
            currency="MAD",
            provenance=Provenance.DOCUMENT,
            document=PROMISE.in_(language),
            page=2,
        ),
        HeldFact(
            label=PERMIT_DATE.in_(language),
            value=date(2022, 11, 14),
            provenance=Provenance.DOCUMENT,
            document=PERMIT.in_(language),
            page=1,
        ),
        HeldFact(label=EARLIER.in_(language), value=False, provenance=Provenance.REGISTRY, as_of=date(2026, 11, 22)),
        HeldFact(label=NOTARY.in_(language), value="Maître Z. Modèle", provenance=Provenance.DECLARED),
    )
    fields: dict[str, Any] = {
        "result": Result.REFUSED,
        "grounds": (StatedGround(text=GROUND.in_(language), legal_basis=ARTICLE.in_(language)),),
        "facts": facts,
        "legal_basis": (LAW.in_(language),),
        "agent": AgentPart(model="demo-rules", rules_only=True),
        "signatory": Signatory(
            name="Z. Modèle-Signataire", title=TITLE.in_(language), delegation=DELEGATION.in_(language)
        ),
        "contest": contest(language),
    }
    return Decision.model_validate(common(language) | fields | changes)


def withdrawal(language: Language, **changes: Any) -> Withdrawal:
    return Withdrawal.model_validate(common(language) | {"received_on": date(2026, 11, 22)} | changes)


def explanation(language: Language, **changes: Any) -> Explanation:
    decided = decision(language)
    quotes = {PRICE.in_(language): "PRIX 650000"}
    fields: dict[str, Any] = {
        "decision": "DW-2026-000142/2",
        "decided_on": decided.date,
        "result": decided.result,
        "grounds": decided.grounds,
        "facts": tuple(
            QuotedFact(
                **fact.model_dump(), quote=quotes.get(fact.label, ""), by_person=fact.label == NOTARY.in_(language)
            )
            for fact in decided.facts
        ),
        "agent": AgentPart(model="demo-rules", rules_only=True, edited=True),
        "asked": 4,
        "unfound": 1,
        "changed": (PRICE.in_(language),),
        "signatory": decided.signatory,
        "contest": decided.contest,
    }
    return Explanation.model_validate(common(language) | {"number": "DW-2026-000142/3"} | fields | changes)


def letter(kind: str, language: Language, **changes: Any) -> Letter:
    make = {
        "receipt": receipt,
        "request_for_pieces": request_for_pieces,
        "reminder": reminder,
        "decision": decision,
        "withdrawal": withdrawal,
        "explanation": explanation,
    }[kind]
    return make(language, **changes)
