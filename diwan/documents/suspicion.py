"""Text addressed to a machine that reads the dossier: a deterministic signal for people, and never a filter.

What protects a case is elsewhere: a quote must be found on its page, rules decide, people sign.
"""

from __future__ import annotations

import re

from diwan.domain.fold import fold

# All patterns run on folded text: no accents or case, ا for أ إ آ, ه for ة, ي for ى. In French "agent" alone is a
# civil servant, and in Arabic وكيل a representative: neither is a signal without a word that makes it a machine.
_MACHINE_FR = r"""(?:
    (?:agent|assistant|systeme|outil|logiciel)\ (?:d'?\ ?)?
    (?:ia|ai|intelligen\w+|artificiel\w*|virtuel\w*|automatis\w+|automatique|conversationnel\w*)
    | intelligence\ artificielle | modele\ de\ langage | chatbot | llm )"""
_MACHINE_EN = r"""(?:
    (?:ai|a\.i\.|virtual|automated)\ (?:agent|assistant|system|model|reviewer) | language\ model | chatbot | llm )"""
_MACHINE_AR = r"""(?:
    (?:ال)?ذكاء\ (?:ال)?اصطناعي | (?:ال)?روبوت
    | (?:ال)?(?:وكيل|مساعد|نموذج|نظام)\ (?:ال)?(?:ذكي|الي|رقمي|لغوي|اصطناعي|افتراضي) )"""

_PATTERNS = (
    # "Ignore the previous instructions" and its kin.
    r"""\b(?:ignore|disregard|forget|override)\b .{0,40}
        \b(?:instructions?|rules?|prompts?|guidelines|above|previous)\b""",
    r"""\b(?:ignore[zr]?|oublie[zr]?|ne\ (?:tiens|tenez)\ pas\ compte|fai(?:s|tes)\ abstraction)\b .{0,30}
        \b(?:(?:instructions?|consignes?)\b | (?:regles|directives)\ (?:precedentes|ci-dessus) | ce\ qui\ precede)""",
    r"""\b(?:تجاهل|انس|اهمل|تغاض|لا\ تلتزم|لا\ تتبع)\w* .{0,40} (?:تعليم|توجيه|قواعد|اوامر|ما\ سبق)""",
    # Addressed to a machine.
    rf"""\b(?:a\ l'attention\ d[eu]|note\ (?:a|pour)|message\ (?:a|pour)|consigne\ (?:a|pour)|cher|en\ tant\ qu[e'])
        \ ? (?:l'|le\ |la\ |une?\ )? {_MACHINE_FR}""",
    rf"""{_MACHINE_FR} .{{0,30}}
        \b(?:tu\ dois|vous\ devez|veuillez|doit\ (?:approuver|accorder|accepter|valider|ignorer|conclure))""",
    rf"""\b(?:attention|(?:note|message|instructions?)\ (?:to|for)|dear|as\ an?)\b [ ,:]{{0,2}} (?:(?:the|any)\ )?
        {_MACHINE_EN}""",
    rf"""{_MACHINE_EN} .{{0,30}} \b(?:you\ must|(?:must|should|shall)\ (?:approve|grant|accept|ignore|conclude))""",
    rf"""\b(?:ايها|ايتها|يا|الي|انتباه|ملاحظه|رساله|بصفتك)\ (?:(?:الي|ل)\ ?)? {_MACHINE_AR}""",
    rf"""{_MACHINE_AR} .{{0,30}} (?:يجب|عليك|المرجو|وافق|اقبل|صادق|ان\ (?:يوافق|يقبل|يتجاهل))""",
    # Role play and the markup of prompts.
    r"""\byou\ are\ (?:now\ )?(?:an?\ )?(?:ai|assistant|language\ model)\b""",
    r"""\btu\ es\ (?:desormais\ |maintenant\ )?(?:une?\ )?(?:ia|assistant|modele)\b""",
    r"""\b(?:system|developer)\ prompt\b | \b(?:invite|prompt|message)\ systeme\b | \bjailbreak\b""",
    r"""<\|?(?:im_start|im_end|system|endoftext|assistant|user)\|?> | \[/?inst\] | <<sys>> | <(?:start|end)_of_turn>""",
    r"""(?:^|\ )\#{1,4}\ ?(?:system|instruction|assistant|developer)s?\ ?:""",
    r"""\b(?:output|respond|reply|answer|repond(?:s|ez))\b .{0,20} \bjson\b""",
    r"""\b(?:call|invoke|appelle[rz]?)\ (?:the\ |l'|la\ )?(?:tool|function|outil|fonction)\b""",
)
_COMPILED = tuple(re.compile(pattern, re.VERBOSE) for pattern in _PATTERNS)


def instruction_suspected(text: str) -> bool:
    """Whether `text` seems to address a machine that reads it; Arabic, French and English."""
    folded = fold(text)
    return any(pattern.search(folded) for pattern in _COMPILED)
